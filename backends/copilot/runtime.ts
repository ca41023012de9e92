/**
 * The runtime: one process that serves many steps at once, each in a session of its own.
 *
 * It holds nothing that a step could not begin again without. When it dies, every step that it was serving is told at
 * once. Its stdin is ours: when this process is killed, it ends by itself within milliseconds.
 */

import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { CopilotClient, SessionEvent } from "@github/copilot-sdk";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";
import { wireOf } from "./connection.ts";
import { LiveSessions } from "./live-sessions.ts";
import type { ModelCall } from "./model-call.ts";
import type { Sdk } from "./platform.ts";
import { RuntimeFailure } from "./runtime-failure.ts";
import type { RuntimeSession, Standing } from "./runtime-session.ts";
import type { StepConfig } from "./session-config.ts";
import { SESSION_FS } from "./session-log.ts";

export interface RuntimeParts {
  readonly sdk: Sdk;
  readonly program: string;
  readonly scratchDir: string;
  readonly githubToken: string | undefined;
  /** Sessions that may stay open between two steps. */
  readonly liveSessionsMax: number;
}

/** What a step puts into a session for its time. */
export interface Serving {
  readonly call: ModelCall;
  listener(event: SessionEvent): void;
}

export class Runtime {
  readonly live: LiveSessions;
  readonly #client: CopilotClient;
  readonly #home: string;
  readonly #calls: Map<string, ModelCall>;
  readonly #process: ChildProcess;
  readonly #ended = Promise.withResolvers<void>();
  readonly #listeners = new Set<(error: BackendError) => void>();
  readonly #startedAt = Date.now();
  #users = 0;
  #isRetired = false;
  #isStopping = false;
  #isLost = false;

  private constructor(client: CopilotClient, parts: RuntimeInside) {
    this.#client = client;
    this.#home = parts.home;
    this.#calls = parts.calls;
    this.live = new LiveSessions({ max: parts.liveSessionsMax, close: (session) => this.close(session) });
    this.#process = processOf(client);
    this.#process.once("exit", () => this.#end());
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) this.#end();
  }

  static async start({ sdk, program, scratchDir, githubToken, liveSessionsMax }: RuntimeParts): Promise<Runtime> {
    const home = path.join(scratchDir, `copilot-${randomUUID()}`);
    await mkdir(home, { recursive: true, mode: 0o700 });
    const calls = new Map<string, ModelCall>();
    const client = new sdk.CopilotClient({
      mode: "empty",
      connection: sdk.RuntimeConnection.forStdio({ path: program }),
      baseDirectory: home,
      workingDirectory: home,
      useLoggedInUser: false,
      ...(githubToken === undefined ? {} : { gitHubToken: githubToken }),
      logLevel: "none",
      // Nothing of ours but what it needs. A resumed session would otherwise drop the model's earlier reasoning.
      env: { PATH: SYSTEM_PATH, HOME: home, COPILOT_STRIP_REASONING_ON_RESUME: "false" },
      sessionFs: SESSION_FS,
      requestHandler: gateOf(sdk, calls, githubToken !== undefined),
    });
    try {
      await withinTime(client.start(), LIMITS.copilotStartMs);
      return new Runtime(client, { home, calls, liveSessionsMax });
    } catch (cause) {
      await client.forceStop().catch(() => undefined);
      const message = `the copilot runtime did not start: ${words(cause)}`;
      throw new BackendError("PROVIDER_ERROR", message, { cause });
    }
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** Its end is our own doing. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Resolves when the process has ended. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Tells of the process's end, also when it has ended before. Not a promise: thousands of steps would stay on it. */
  onLost(listener: (error: BackendError) => void): Disposable {
    if (this.#isLost) listener(lost());
    else this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  get ageMs(): number {
    return Date.now() - this.#startedAt;
  }

  /** 0 where the system does not tell. */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, "utf8").catch(() => "");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
  }

  /** Counts one more user; the process of a retired runtime ends with its last. */
  use(): Disposable {
    this.#users++;
    let isDone = false;
    return {
      [Symbol.dispose]: () => {
        if (isDone) return;
        isDone = true;
        this.#users--;
        if (this.#isRetired && this.#users === 0) void this.stop();
      },
    };
  }

  retire(): void {
    this.#isRetired = true;
    this.live.end();
    if (this.#users === 0) void this.stop();
  }

  /** Begins to open a session at its log. Never fails: whoever waits for the session is told. */
  open(session: RuntimeSession, config: StepConfig): void {
    const { id, log } = session;
    const own = { createSessionFsProvider: () => log, onEvent: (event: SessionEvent) => session.tell(event) };
    // Also the first step: its log is written by us, as far as the conversation has come without the runtime.
    session.open(this.#client.resumeSession(id, { ...config, ...own, continuePendingWork: true }));
  }

  serve(session: RuntimeSession, { call, listener }: Serving): void {
    this.#calls.set(session.id, call);
    session.serve(listener);
  }

  /** Leaves a session open behind its step. */
  rest(session: RuntimeSession, at: { readonly sessionId: string; readonly standing: Standing }): void {
    this.#calls.delete(session.id);
    this.live.keep(session, at);
  }

  /** Writes what the runtime still holds back into the session's log: it does so by itself only every 100 ms. */
  async save({ id }: RuntimeSession): Promise<void> {
    await this.#client.rpc.sessions.save({ sessionId: id });
  }

  /** Ends a session that nobody needs any more. Never fails. */
  async close(session: RuntimeSession): Promise<void> {
    session.end();
    const closing = async (): Promise<void> => {
      const opened = await session.opened;
      await opened.rpc.suspend().catch(() => undefined);
      await opened.disconnect();
    };
    if (!this.#isLost) await withinTime(closing(), LIMITS.copilotCloseMs).catch(() => undefined);
    this.#calls.delete(session.id);
  }

  async listModels(): Promise<readonly { readonly id: string }[]> {
    return await this.#client.listModels().catch((cause: unknown) => {
      throw new RuntimeFailure(cause);
    });
  }

  /** For a runtime that does not answer any more. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.live.end();
    await withinTime(this.#client.forceStop(), LIMITS.copilotCloseMs).catch(() => undefined);
    this.kill();
    await this.ended;
    await rm(this.#home, { recursive: true, force: true }).catch(() => undefined);
  }

  #end(): void {
    this.#isLost = true;
    this.live.end();
    this.#ended.resolve();
    for (const listener of this.#listeners) listener(lost());
  }
}

interface RuntimeInside {
  readonly home: string;
  readonly calls: Map<string, ModelCall>;
  readonly liveSessionsMax: number;
}

function lost(): BackendError {
  return new BackendError("PROVIDER_ERROR", "the copilot runtime ended while it served this step", { isLost: true });
}

/** The runtime needs no program of ours. */
const SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin";

/** What the SDK's client keeps to itself, and a lost process cannot be met without. */
interface ClientInside {
  readonly cliProcess?: ChildProcess | null;
  readonly messageWriter?: { suppressWriteErrors: boolean } | null;
}

/**
 * The client's process, whose end must be known at once. Until then the client's answers to it fail with nobody to catch
 * them, which would end this process too: so they fail in silence, and the end is told by the process alone.
 */
function processOf(client: CopilotClient): ChildProcess {
  const { cliProcess, messageWriter } = client as unknown as ClientInside;
  if (!cliProcess || messageWriter?.suppressWriteErrors === undefined) {
    throw new Error("the SDK's client has another inside: its version has changed");
  }
  messageWriter.suppressWriteErrors = true;
  return cliProcess;
}

/** Sees each request of the runtime to a model. */
function gateOf(
  sdk: Sdk,
  calls: ReadonlyMap<string, ModelCall>,
  isGithub: boolean,
): InstanceType<Sdk["CopilotRequestHandler"]> {
  class Gate extends sdk.CopilotRequestHandler {
    protected override async sendRequest(
      request: Request,
      context: { readonly sessionId?: string; readonly signal: AbortSignal },
    ): Promise<Response> {
      // GitHub's own lists and checks belong to no step. A provider of one's own is asked for nothing but replies.
      if (isGithub && wireOf(new URL(request.url)) === undefined)
        return await fetch(request, { signal: context.signal });
      const call = context.sessionId === undefined ? undefined : calls.get(context.sessionId);
      if (call !== undefined) return await call.answer(request);
      return Response.json({ error: { message: "this step is over" } }, { status: 400 });
    }
  }
  return new Gate();
}

async function withinTime<T>(work: Promise<T>, limitMs: number): Promise<T> {
  const over = new AbortController();
  const late = sleep(limitMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`it took more than ${limitMs} ms`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
  }
}

function words(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, LIMITS.providerWordsMax);
}
