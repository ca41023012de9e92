/** A remote sandbox whose shell is somebody else's: whatever it says or does not say, the worker goes on, in bounded time and space. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { type Sandbox, SandboxError } from "../../sandbox/provider.ts";
import type { ExecChannel, RemoteProcess } from "../../sandbox/remote/channel.ts";
import { createRemoteSandbox } from "../../sandbox/remote/remote-sandbox.ts";
import { newCallId } from "./commands.ts";

/** Gives what the shell prints for a request: its name and its line. Without an end it ends as told. */
type Shell = (name: string, line: string) => AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>;

const quiet: Shell = (name) => [`\n${name} 0\n`];
const FROM_START = { stdout: 0, stderr: 0 };
const failed = { name: "SandboxError", kind: "failed" };

/** The first request of each connection, which names the variables, is answered as it should be. */
function sandboxOver(shell: Shell, opened: { count: number } = { count: 0 }): Sandbox {
  const channel: ExecChannel = {
    async exec() {
      opened.count += 1;
      return scripted(shell);
    },
  };
  return createRemoteSandbox({ id: "sbx_scripted", channel });
}

function scripted(shell: Shell): RemoteProcess {
  const lines: string[] = [];
  const gone = Promise.withResolvers<void>();
  let wake = Promise.withResolvers<void>();
  let rest = "";
  let requests = 0;
  const stdout = async function* (): AsyncGenerator<Uint8Array, void, void> {
    while (true) {
      while (lines.length < 2) {
        const next = await Promise.race([wake.promise, gone.promise.then(() => "gone")]);
        if (next === "gone") return;
        wake = Promise.withResolvers();
      }
      const [name = "", line = ""] = lines.splice(0, 2);
      requests += 1;
      const said = (requests === 1 ? quiet : shell)(name, line);
      for await (const piece of said) {
        yield typeof piece === "string" ? Buffer.from(piece) : piece;
      }
    }
  };
  const process = stdout();
  return {
    stdout: {
      [Symbol.asyncIterator]: () => ({
        next: () =>
          Promise.race([process.next(), gone.promise.then(() => ({ done: true, value: undefined }) as const)]),
      }),
    },
    stderr: (async function* () {})(),
    async write(bytes) {
      rest += Buffer.from(bytes).toString();
      const parts = rest.split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
      wake.resolve();
    },
    end: async () => undefined,
    exit: Promise.resolve(0),
    kill: () => gone.resolve(),
  };
}

async function* forever(piece: string | Uint8Array): AsyncGenerator<string | Uint8Array, void, void> {
  while (true) {
    yield piece;
    await new Promise(setImmediate);
  }
}

const never = async function* (): AsyncGenerator<string, void, void> {
  await new Promise(() => undefined);
  yield "";
};

describe("a shell that cannot be trusted", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test("that never answers is given up after a while, in words", async () => {
    const sandbox = sandboxOver(never);
    const asked = [
      sandbox.stat("a"),
      sandbox.readFile("a"),
      sandbox.start({ callId: newCallId(), command: "x", timeoutMs: 1 }),
    ];
    const kinds = Promise.all(asked.map((one) => one.then(() => "answered", kindOf)));

    // One after the other: a shell that hangs is not asked for something else.
    for (let shells = 0; shells < 4; shells++) await vi.advanceTimersByTimeAsync(LIMITS.remoteSilenceMs);

    expect(await kinds).toEqual(["failed", "failed", "failed"]);
  });

  test("that prints without end is cut off, wherever it does it", async () => {
    const sandbox = sandboxOver(() => forever(Buffer.alloc(64 * 1024, "x")));

    await expect(sandbox.stat("a")).rejects.toMatchObject(failed);
    await expect(sandbox.readFile("a")).rejects.toMatchObject(failed);
    await expect(sandbox.openFile("a")).rejects.toMatchObject(failed);
    await expect(sandbox.listFiles(".", { depth: 1, max: 10 })).rejects.toMatchObject(failed);
    await expect(sandbox.scan({ skip: () => false, max: 10 })).rejects.toMatchObject(failed);
    const events = sandbox.follow(newCallId(), FROM_START, new AbortController().signal);
    await expect(events[Symbol.asyncIterator]().next()).rejects.toMatchObject(failed);
  });

  test("that announces a little and sends a lot gives no more than it announced", async () => {
    const sandbox = sandboxOver(async function* () {
      yield "5 5\n";
      yield* forever(Buffer.alloc(64 * 1024, "x"));
    });

    const stream = await sandbox.openFile("a");

    await expect(stream.toArray()).rejects.toMatchObject(failed);
  });

  test("that lists entries without end is cut off at the count that is wanted", async () => {
    const sandbox = sandboxOver(async function* () {
      yield "printf\n";
      yield* forever("f 644 1 1700000000.5 1700000000.5 7 a\0\0".repeat(50));
    });

    await expect(sandbox.scan({ skip: () => false, max: 10 })).rejects.toMatchObject({ kind: "too_large" });
  });

  test.each([
    ["nothing at all", ""],
    ["no list", "total 4\nfile\n"],
    ["a path that goes up", "printf\nf 644 1 1700000000.5 1700000000.5 7 ../../etc/passwd\0\0"],
    ["an absolute path", "printf\nf 644 1 1700000000.5 1700000000.5 7 /etc/passwd\0\0"],
    ["half a record", "printf\nf 644 1 1700000000.5 17"],
    ["records of another form", "printf\nhello\0world\0"],
    [
      "a list without its links",
      "stat\n81a4 1 1700000000|2023-11-14 22:13:20.5|1700000000|2023-11-14 22:13:20.5|7 .//a\n",
    ],
  ])("that lists %s is not believed", async (_, printed) => {
    const sandbox = sandboxOver((name) => [printed, `\n${name} 0\n`]);

    await expect(sandbox.listFiles(".", { depth: 1, max: 10 })).rejects.toMatchObject(failed);
  });

  test.each([
    ["nothing", ""],
    ["sizes that are none", "a b c d - - -\n"],
    ["sizes without marks", "1 0 0 0 - - -\n"],
    ["one mark only", "1 0 0 0 - - -\nNAME-out\nx"],
  ])("that says %s of a command is not believed", async (_, printed) => {
    const sandbox = sandboxOver((name) => [printed.replace("NAME", name), `\n${name} 0\n`]);

    const events = sandbox.follow(newCallId(), FROM_START, new AbortController().signal);

    await expect(events[Symbol.asyncIterator]().next()).rejects.toMatchObject(failed);
  });

  test("that answers polls with no news does not make the worker spin", async () => {
    let polls = 0;
    const sandbox = sandboxOver((name) => {
      polls += 1;
      return [`0 0 0 0 0 1 7 600000\n\nend \n${name}-out\n\n${name}-err\n`, `\n${name} 0\n`];
    });
    const reading = new AbortController();
    const events: string[] = [];
    const following = (async () => {
      for await (const event of sandbox.follow(newCallId(), FROM_START, reading.signal)) events.push(event.type);
    })();

    await vi.advanceTimersByTimeAsync(1_000);
    reading.abort();
    await vi.advanceTimersByTimeAsync(1_000);
    await following;

    expect(polls).toBeLessThan(10);
    expect(events).toEqual([]);
  });

  test("that makes up an exit is told as unknown at most", async () => {
    const sandbox = sandboxOver((name) => [
      `0 0 0 0 - - 7 600000\n\nend exited 99999 .\n${name}-out\n\n${name}-err\n`,
      `\n${name} 0\n`,
    ]);

    const events = sandbox.follow(newCallId(), FROM_START, new AbortController().signal);

    expect((await events[Symbol.asyncIterator]().next()).value).toMatchObject({
      type: "ended",
      end: { ended: "unknown" },
    });
  });

  test("that ends in the middle is asked again once in a new one", async () => {
    const opened = { count: 0 };
    const answers: string[][] = [["half an ans"], ["81a4 5 1700000000|2023-11-14 22:13:20.250"]];
    const channel: ExecChannel = {
      async exec() {
        const process = scripted((name) => {
          const [answer = ""] = answers.shift() ?? [];
          if (answers.length > 0) queueMicrotask(() => process.kill());
          return answers.length > 0 ? [answer] : [answer, `\n${name} 0\n`];
        });
        opened.count += 1;
        return process;
      },
    };
    const sandbox = createRemoteSandbox({ id: "sbx_scripted", channel });

    expect(await sandbox.stat("a")).toEqual({ kind: "file", bytes: 5, modifiedAt: 1_700_000_000_250 });
    expect(opened.count).toBe(2);
  });
});

describe("a channel that fails", () => {
  test("as lost is told to all who wait, and as failed to those who asked", async () => {
    const lost = createRemoteSandbox({
      id: "sbx_lost",
      channel: { exec: () => Promise.reject(new SandboxError("lost", "the container is gone")) },
    });

    const asked = Array.from({ length: 30 }, () => lost.stat("a").then(() => "answered", kindOf));

    expect(new Set(await Promise.all(asked))).toEqual(new Set(["lost"]));
    await expect(lost.kill(newCallId())).resolves.toBeUndefined();
  });

  test("paths that lead out, and ids that are paths, ask nobody", async () => {
    const opened = { count: 0 };
    const sandbox = sandboxOver(quiet, opened);
    const denied = { name: "SandboxError", kind: "denied" };

    for (const hostile of ["..", "/etc/passwd", "a\0b", "x".repeat(5_000), "n".repeat(300)]) {
      await expect(sandbox.stat(hostile)).rejects.toMatchObject(denied);
      await expect(sandbox.writeFile(hostile, new Uint8Array())).rejects.toMatchObject(denied);
    }
    await expect(sandbox.kill("call_../../x")).rejects.toMatchObject(denied);
    expect(opened.count).toBe(0);
  });

  test("a handle that was disposed of says so, and closes all that it had", async () => {
    const opened = { count: 0 };
    const sandbox = sandboxOver(quiet, opened);
    await sandbox.kill(newCallId());

    await sandbox[Symbol.asyncDispose]();

    await expect(sandbox.stat("a")).rejects.toMatchObject(failed);
    expect(opened.count).toBe(1);
  });

  test("requests share a few shells, however many there are", async () => {
    const opened = { count: 0 };
    const sandbox = sandboxOver(quiet, opened);

    await Promise.all(Array.from({ length: 200 }, () => sandbox.kill(newCallId())));

    expect(opened.count).toBeLessThanOrEqual(LIMITS.remoteShellsMax);
  });
});

function kindOf(thrown: unknown): unknown {
  return thrown instanceof SandboxError ? thrown.kind : thrown;
}
