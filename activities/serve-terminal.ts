/** Serves one terminal: a shell in the session's sandbox, whose bytes go through rows until one of many reasons ends it. */
import { ApplicationFailure, Context } from "@temporalio/activity";
import type { Agent } from "../contract/agents.ts";
import { LIMITS } from "../contract/limits.ts";
import type { TerminalKey } from "../contract/terminals.ts";
import { type Sandbox, SandboxError, type Terminal } from "../sandbox/provider.ts";
import { endAttempt } from "../store/attempts.ts";
import { currentSandbox } from "../store/sandboxes.ts";
import {
  closeTerminal,
  findTerminal,
  inputAfter,
  openTerminal,
  type ScreenSize,
  type TerminalRecord,
  takeTerminalOver,
  writeProgress,
} from "../store/terminals.ts";
import { NO_REDACTION } from "../tools/redactor.ts";
import { attempted, type RunningAttempt } from "./attempt.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { findSandbox, openSandbox } from "./session-sandbox.ts";
import { TerminalOutput } from "./terminal-output.ts";
import { GOES_DOWN } from "./works-here.ts";

export type ServeTerminal = (key: TerminalKey) => Promise<void>;

/** How often the sandbox is looked after, and who still watches. */
const LOOK_EVERY_MS = 250;

/**
 * Resolves when the terminal is closed. A shell does not outlive its worker, so another attempt only says that it is gone; one
 * that comes to the same worker goes on with it (`WorksHere`), and is not seen here.
 */
export function createServeTerminal(deps: RunToolDeps): ServeTerminal {
  return (key) =>
    attempted(deps, async (running) => {
      const { database } = deps.store;
      const row = await findTerminal(database, key.terminalId);
      if (row) await takeTerminalOver(database, row, running.attempt);
      if (row && Context.current().info.attempt > 1) await endLeft(deps, row);
      if (!row || row.state === "closed") return;
      const reason = row.state === "open" ? "the worker that served it was lost" : await serve(deps, row, running);
      await closeTerminal(database, key, reason);
      await database.write((tx) => endAttempt(tx, running.attempt));
    });
}

/** What an attempt before this one has left of its shell, where that goes on without its worker. */
async function endLeft(deps: RunToolDeps, row: TerminalRecord): Promise<void> {
  try {
    await using sandbox = await findSandbox(deps, row.sessionId);
    await sandbox?.endTerminal?.(row.id);
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error; // With its sandbox it is gone, too.
  }
}

/** The reason for its end. Throws ELSEWHERE when another host's workers have the sandbox. */
async function serve(deps: RunToolDeps, row: TerminalRecord, running: RunningAttempt): Promise<string> {
  try {
    await using sandbox = await openSandbox(deps, row.sessionId);
    if (!sandbox.openTerminal) return "the sandbox's provider has no terminals";
    const terminal = await sandbox.openTerminal({
      mark: row.id,
      columns: row.columns,
      rows: row.rows,
      environment: await variables(deps, row),
    });
    try {
      const key = { sessionId: row.sessionId, terminalId: row.id };
      if (!(await openTerminal(deps.store.database, key, running.attempt))) return "it was closed";
      return await new ServedTerminal(deps, { row, sandbox, terminal, running }).ended();
    } finally {
      await terminal.close().catch(() => undefined);
    }
  } catch (error) {
    if (error instanceof SandboxError) return error.message;
    if (error instanceof ApplicationFailure && error.type === "SandboxStopped")
      return "the session's sandbox was stopped";
    throw error;
  }
}

/** Secrets are for chosen commands, and a terminal is none. */
async function variables(deps: RunToolDeps, { sessionId }: TerminalRecord): Promise<Readonly<Record<string, string>>> {
  const session = await deps.store.database.read
    .selectFrom("sessions")
    .select("agent")
    .where("id", "=", sessionId)
    .executeTakeFirst();
  const agent = session && (JSON.parse(session.agent) as Agent); // A row of ours, written from a parsed value.
  return { ...agent?.sandbox?.environment, ...agent?.environment, TERM: "xterm-256color" };
}

interface Served {
  readonly row: TerminalRecord;
  readonly sandbox: Sandbox;
  readonly terminal: Terminal;
  readonly running: RunningAttempt;
}

class ServedTerminal {
  readonly #deps: RunToolDeps;
  readonly #served: Served;
  readonly #output: TerminalOutput;
  readonly #end = Promise.withResolvers<string>();
  #size: ScreenSize;
  #inputTaken = 0;
  #inputNoted = 0;
  #version = -1;
  #lookedAt = 0;
  #notedAt = Date.now();

  constructor(deps: RunToolDeps, served: Served) {
    this.#deps = deps;
    this.#served = served;
    this.#size = served.row;
    this.#output = new TerminalOutput({
      redactor: deps.secrets?.redactor ?? NO_REDACTION,
      write: (output) => this.#note(output),
      onError: (error) => this.#end.reject(error),
    });
  }

  /** Serves it until it ends, and gives the reason. */
  async ended(): Promise<string> {
    const over = new AbortController();
    const reason = this.#end.promise.finally(() => over.abort());
    const printing = this.#print().then(
      async () => this.#end.resolve(await this.#whyEnded()),
      (error: unknown) => this.#end.reject(error),
    );
    const watching = this.#watch(over.signal).catch((error: unknown) => this.#end.reject(error));
    try {
      return await reason;
    } finally {
      await watching;
      await this.#served.terminal.close().catch(() => undefined);
      // What it printed last is wanted, but a shell that does not end is not waited for.
      await Promise.race([printing, after(LIMITS.killGraceMs)]);
    }
  }

  async #print(): Promise<void> {
    for await (const bytes of this.#served.terminal.output) await this.#output.add(bytes);
    await this.#output.end();
  }

  async #whyEnded(): Promise<string> {
    return (await this.#sandboxIsThere()) ? "the shell has ended" : "the session's sandbox was stopped or lost";
  }

  /** Looks for input as soon as the database has changed, and from time to time for all else. */
  async #watch(over: AbortSignal): Promise<void> {
    const { database } = this.#deps.store;
    while (!over.aborted) {
      const reason = this.#stopReason();
      if (reason !== undefined) return this.#end.resolve(reason);
      const version = database.dataVersion();
      if (version !== this.#version) {
        this.#version = version;
        await this.#takeInput();
      }
      if (Date.now() - this.#lookedAt >= LOOK_EVERY_MS) await this.#look();
      await after(LIMITS.tailEveryMs);
    }
  }

  #stopReason(): string | undefined {
    const { signal, isStopped } = this.#served.running;
    if (!signal.aborted) return undefined;
    if (isStopped()) return "it was closed";
    const isLapsed = !(signal.reason instanceof Error && signal.reason.message === GOES_DOWN);
    return isLapsed ? "Temporal had lost the worker that served it" : "the worker that served it goes down";
  }

  async #takeInput(): Promise<void> {
    const { row, terminal } = this.#served;
    const { database } = this.#deps.store;
    for (const { number, bytes } of await inputAfter(database, row.id, this.#inputTaken)) {
      terminal.write(bytes);
      this.#inputTaken = number;
    }
    const now = await findTerminal(database, row.id);
    if (!now || now.state === "closed") return this.#end.resolve("it was closed");
    if (now.columns === this.#size.columns && now.rows === this.#size.rows) return;
    this.#size = now;
    terminal.resize(now.columns, now.rows);
  }

  async #look(): Promise<void> {
    const { row } = this.#served;
    this.#lookedAt = Date.now();
    if (this.#inputTaken > this.#inputNoted || this.#lookedAt - this.#notedAt >= LIMITS.terminalNotedEveryMs) {
      await this.#note({ output: [], keptFrom: 0 });
    }
    if (!(await this.#sandboxIsThere())) return this.#end.resolve("the session's sandbox was stopped or lost");
    const watchedAt = (await findTerminal(this.#deps.store.database, row.id))?.watchedAt ?? 0;
    if (this.#lookedAt - watchedAt < LIMITS.terminalUnwatchedMs) return;
    this.#end.resolve(`nobody has watched it for ${LIMITS.terminalUnwatchedMs / 60_000} minutes`);
  }

  async #note(output: NotedOutput): Promise<void> {
    const inputTaken = this.#inputTaken;
    this.#notedAt = Date.now();
    if (!(await writeProgress(this.#deps.store.database, this.#served.row.id, { ...output, inputTaken }))) {
      this.#end.resolve("it was closed");
    }
    this.#inputNoted = inputTaken;
  }

  async #sandboxIsThere(): Promise<boolean> {
    const { row, sandbox } = this.#served;
    const record = await currentSandbox(this.#deps.store.database, row.sessionId);
    return record?.sandboxId === sandbox.id && record.state === "ready";
  }
}

type NotedOutput = Pick<Parameters<typeof writeProgress>[2], "output" | "keptFrom">;

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
