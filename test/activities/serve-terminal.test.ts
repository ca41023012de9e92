/** A terminal as its worker serves it: bytes both ways, the size, what is kept, and each reason for its end. */
import { ActivityCancellationDetails } from "@temporalio/common";
import { MockActivityEnvironment } from "@temporalio/testing";
import { expect, test } from "vitest";
import { createServeTerminal } from "../../activities/serve-terminal.ts";
import { openSandbox } from "../../activities/session-sandbox.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { TerminalKey } from "../../contract/terminals.ts";
import { type Sandbox, SandboxError, type SandboxProvider, type Terminal } from "../../sandbox/provider.ts";
import { currentSandbox, stopSandboxRow } from "../../store/sandboxes.ts";
import {
  closeTerminal,
  findTerminal,
  makeTerminal,
  openTerminal,
  outputAfter,
  putInput,
  resizeTerminal,
  takeTerminal,
} from "../../store/terminals.ts";
import { createRedactor } from "../../tools/redactor.ts";
import { waitFor } from "../support/world.ts";
import { type ActivityWorld, anActivityWorld, anAttempt } from "./activity-builder.ts";

const KEY = { terminalId: "term_served" } as const;
const WRITER = "the writer";

/** A shell that does what the test says. */
class ScriptedShell implements Terminal {
  readonly typed: string[] = [];
  readonly sizes: string[] = [];
  environment: Readonly<Record<string, string>> = {};
  hasClosed = false;
  readonly #pieces: Uint8Array[] = [];
  #wake: () => void = () => undefined;

  print(text: string): void {
    this.#pieces.push(Buffer.from(text));
    this.#wake();
  }

  readonly output = this.#output();

  async *#output(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece) yield piece;
      else if (this.hasClosed) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  write(input: Uint8Array): void {
    this.typed.push(Buffer.from(input).toString());
  }

  resize(columns: number, rows: number): void {
    this.sizes.push(`${columns}x${rows}`);
  }

  async close(): Promise<void> {
    this.hasClosed = true;
    this.#wake();
  }
}

interface Served extends ActivityWorld {
  readonly key: TerminalKey;
  readonly shell: ScriptedShell;
  /** Resolves when the activity has returned, with the reason that the row then tells. */
  readonly reason: Promise<string | null | undefined>;
  readonly attempt: ReturnType<typeof anAttempt>;
  printed(): Promise<string>;
}

async function served(
  of: { readonly secrets?: readonly string[]; readonly open?: () => Promise<Terminal>; readonly hasNone?: true } = {},
): Promise<Served> {
  const world = await anActivityWorld({ agent: { environment: { MODE: "test" } } });
  const shell = new ScriptedShell();
  const withTerminal = (sandbox: Sandbox): Sandbox => {
    const { openTerminal: _none, ...rest } = sandbox;
    if (of.hasNone) return rest;
    const open = async (options: { readonly environment?: Readonly<Record<string, string>> }): Promise<Terminal> => {
      shell.environment = options.environment ?? {};
      return (await of.open?.()) ?? shell;
    };
    return { ...rest, openTerminal: open };
  };
  const provider = (inner: SandboxProvider): SandboxProvider => ({
    ...inner,
    open: async (...args) => withTerminal(await inner.open(...args)),
    find: async (id) => {
      const found = await inner.find(id);
      return found && withTerminal(found);
    },
  });
  const { sandboxes } = world.deps;
  const deps = {
    ...world.deps,
    sandboxes: {
      ...sandboxes,
      provider: (name: Parameters<typeof sandboxes.provider>[0]) => provider(sandboxes.provider(name)),
      allowed: (name: Parameters<typeof sandboxes.allowed>[0]) => provider(sandboxes.allowed(name)),
    },
    ...(of.secrets && { secrets: { values: new Map(), redactor: createRedactor(of.secrets) } }),
  };
  const { database } = world;
  const key = { sessionId: world.sessionId, ...KEY };
  await makeTerminal(database, key, { columns: 80, rows: 24 });
  await takeTerminal(database, key.terminalId, { writer: WRITER, ifFree: true });
  const attempt = anAttempt();
  const reason = attempt
    .run(createServeTerminal(deps), key)
    .then(async () => (await findTerminal(database, key.terminalId))?.reason);
  reason.catch(() => undefined); // Each test awaits it.
  const printed = async (): Promise<string> =>
    Buffer.concat((await outputAfter(database, key.terminalId, 0)).map(({ bytes }) => bytes)).toString();
  return { ...world, key, shell, reason, attempt, printed };
}

async function untilOpen({ database, key }: Served): Promise<void> {
  await waitFor("it is open", async () => (await findTerminal(database, key.terminalId))?.state === "open");
}

test("what is typed reaches the shell, what it prints is kept, and it is as large as its writer says", async () => {
  await using made = await served();
  const { database, key, shell } = made;
  await untilOpen(made);

  for (const text of ["l", "s", "\r"]) {
    expect(await putInput(database, key.terminalId, { writer: WRITER, bytes: Buffer.from(text) })).toBe("put");
  }
  expect(await resizeTerminal(database, key.terminalId, { writer: WRITER, columns: 100, rows: 30 })).toBe(true);
  expect(await resizeTerminal(database, key.terminalId, { writer: "another", columns: 1, rows: 1 })).toBe(false);
  shell.print("a file\r\n");

  await waitFor("all has come", async () => shell.sizes.length > 0 && (await made.printed()) === "a file\r\n");
  await waitFor("it was typed", () => shell.typed.join("") === "ls\r");
  expect(shell.sizes).toEqual(["100x30"]);
  expect(shell.environment).toEqual({ MODE: "test", TERM: "xterm-256color" });
  shell.print("bye");
  await shell.close();
  expect(await made.reason).toBe("the shell has ended");
  expect(await made.printed()).toBe("a file\r\nbye");
});

test("secrets are not kept, however they are split; what only begins like one is shown after a moment", async () => {
  await using made = await served({ secrets: ["hunter2-hunter2", "line one\nline two of it"] });
  await untilOpen(made);
  for (const piece of ["is hun", "ter2-", "hunter2!", " line one\r\nline t", "wo of it, hunter2", " only"])
    made.shell.print(piece);

  await waitFor("it is printed", async () => (await made.printed()) === "is [REDACTED]! [REDACTED], hunter2 only");
  made.shell.print("$ h");
  await waitFor("one letter is shown", async () => (await made.printed()).endsWith("$ h"), 1_000);
  made.shell.print("$ hunter2");
  await waitFor("a word is shown", async () => (await made.printed()).endsWith("$ hunter2"), 3_000);
  await made.shell.close();
  await made.reason;
});

test("of what is printed without end only the last is kept", async () => {
  await using made = await served();
  await untilOpen(made);
  const line = "0123456789abcdef".repeat(4_096);
  for (let count = 0; count < 40; count++) made.shell.print(line);
  made.shell.print("the end");

  await waitFor("all is printed", async () => (await made.printed()).endsWith("the end"));

  const frames = await outputAfter(made.database, KEY.terminalId, 0);
  expect(frames.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeLessThanOrEqual(LIMITS.terminalKeptBytes);
  expect(frames.every(({ bytes }) => bytes.length <= LIMITS.terminalFrameBytes)).toBe(true);
  expect(frames[0]?.number).toBeGreaterThan(100);
  await made.shell.close();
  await made.reason;
});

test("what was typed is forgotten once the shell has it", async () => {
  await using made = await served();
  await untilOpen(made);
  for (let count = 0; count < 50; count++) {
    await putInput(made.database, KEY.terminalId, { writer: WRITER, bytes: Buffer.from("x") });
  }

  await waitFor("one row is left, by which the numbers go on", async () => {
    const rows = await made.database.read
      .selectFrom("terminal_frames")
      .select("number")
      .where("direction", "=", "in")
      .execute();
    return rows.length === 1 && rows[0]?.number === 50;
  });
  await putInput(made.database, KEY.terminalId, { writer: WRITER, bytes: Buffer.from("last") });
  await waitFor("it is typed", () => made.shell.typed.at(-1) === "last");
  expect(made.shell.typed).toHaveLength(51);
  await made.shell.close();
  await made.reason;
});

test("it ends with the session's sandbox", async () => {
  await using made = await served();
  await untilOpen(made);
  const record = await currentSandbox(made.database, made.sessionId);
  if (!record) throw new Error("there is no sandbox");
  await stopSandboxRow(made.database, made.sessionId, { record, reason: "closed" });

  expect(await made.reason).toBe("the session's sandbox was stopped or lost");
  expect(made.shell.hasClosed).toBe(true);
});

test("it ends when nobody has watched it for long enough, and when it is closed", async () => {
  await using made = await served();
  await untilOpen(made);
  const longAgo = Date.now() - LIMITS.terminalUnwatchedMs;
  await made.database.write((tx) => tx.updateTable("terminals").set({ watched_at: longAgo }).execute());
  expect(await made.reason).toBe("nobody has watched it for 10 minutes");

  await using other = await served();
  await untilOpen(other);
  await closeTerminal(other.database, other.key, "closed by a test");
  expect(await other.reason).toBe("closed by a test");
  expect(other.shell.hasClosed).toBe(true);
});

test("it ends with its worker, also when that dies: the next attempt says so and opens none", async () => {
  await using made = await served();
  await untilOpen(made);
  made.attempt.cancel("WORKER_SHUTDOWN", new ActivityCancellationDetails({ workerShutdown: true }));
  await expect(made.reason).resolves.toBe("the worker that served it goes down");

  await using lost = await anActivityWorld();
  const key = { sessionId: lost.sessionId, ...KEY };
  await makeTerminal(lost.database, key, { columns: 80, rows: 24 });
  await openTerminal(lost.database, key, undefined);
  await anAttempt().run(createServeTerminal(lost.deps), key);
  expect((await findTerminal(lost.database, key.terminalId))?.reason).toBe("the worker that served it was lost");
});

test("what a killed worker has left of its shell is ended by the next attempt, although the row is closed", async () => {
  await using world = await anActivityWorld();
  const key = { sessionId: world.sessionId, ...KEY };
  await makeTerminal(world.database, key, { columns: 80, rows: 24 });
  await openTerminal(world.database, key, undefined);
  await using _made = await openSandbox(world.deps, world.sessionId);
  await closeTerminal(world.database, key, "the worker that served it is gone");
  const ended: string[] = [];
  const local = world.deps.sandboxes.provider("local");
  const find: typeof local.find = async (id) => {
    const found = await local.find(id);
    return found && { ...found, endTerminal: async (mark) => void ended.push(mark) };
  };
  const finding = (): SandboxProvider => ({ ...local, find });
  const deps = { ...world.deps, sandboxes: { ...world.deps.sandboxes, provider: finding, allowed: finding } };

  await new MockActivityEnvironment({ attempt: 2 }).run(createServeTerminal(deps), key);

  expect(ended).toEqual([key.terminalId]);
});

test("where none can be opened the reason is said", async () => {
  await using none = await served({ hasNone: true });
  expect(await none.reason).toBe("the sandbox's provider has no terminals");

  await using failed = await served({
    open: () => Promise.reject(new SandboxError("failed", "no terminal could be made: too many are open")),
  });
  expect(await failed.reason).toBe("no terminal could be made: too many are open");
});
