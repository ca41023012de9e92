/** The runtime's process: what it is given, and what becomes of steps, workers and the process when one of them dies. */
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { installedPlatform } from "../../../backends/copilot/platform.ts";
import { type RuntimeLease, RuntimePool } from "../../../backends/copilot/runtime-pool.ts";
import { anInput, failureOf, Memory, scripted } from "../openai/step-builder.ts";
import { Conversation, KEY, startCopilotWorld, texts } from "./step-builder.ts";

const LOOK = { name: "look" };
const SLOW = { text: "a text that is long enough to be killed in its middle", gapMs: 40 };

test("a runtime that is killed in mid-stream loses the step at once, and the next step starts another", async () => {
  await using world = await startCopilotWorld();
  const session = new Conversation().say(scripted({ tools: [LOOK] }, SLOW));
  await session.step(world);
  session.answer();
  const [pid = 0] = await world.runtimePids();
  const sink = new Memory();
  const failed = failureOf(world.backend.step(session.input(), sink, new AbortController().signal));
  await expect.poll(() => sink.lines.length, { interval: 2, timeout: 5_000 }).toBeGreaterThan(1);

  const killedAt = Date.now();
  process.kill(pid, "SIGKILL");
  const error = await failed;
  const lostAt = Date.now();
  await world.model.until(() => world.model.requests.at(-1)?.closedEarlyAt !== undefined);
  const again = await session.step(world);

  expect(error).toMatchObject({ isLost: true, retryable: true });
  expect(lostAt - killedAt).toBeLessThan(1_000);
  expect(texts(again)).toBe(SLOW.text);
  expect(again.state?.append).toBeDefined();
  expect(await world.runtimePids()).not.toContain(pid);
  expect(world.warnings).toEqual([expect.stringContaining("runtime ended")]);
});

test("a runtime that is killed between steps is not missed", async () => {
  await using world = await startCopilotWorld();
  const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b" }));
  await session.step(world);
  const [pid = 0] = await world.runtimePids();

  process.kill(pid, "SIGKILL");
  await expect.poll(() => world.warnings.length, { interval: 2 }).toBe(1);
  const output = await session.answer().step(world);

  expect(texts(output)).toBe("b");
});

test("all steps that a killed runtime serves are lost together, and none hangs", async () => {
  await using world = await startCopilotWorld();
  const sinks = Array.from({ length: 5 }, () => new Memory());
  const failed = sinks.map((sink) =>
    failureOf(world.backend.step(anInput({ transcript: [scripted(SLOW)] }), sink, new AbortController().signal)),
  );
  await expect.poll(() => sinks.every((sink) => sink.lines.length > 1), { interval: 2, timeout: 5_000 }).toBe(true);
  const [pid = 0] = await world.runtimePids();

  process.kill(pid, "SIGKILL");
  const errors = await Promise.all(failed);

  expect(errors.map((error) => error.isLost)).toEqual([true, true, true, true, true]);
});

test("a runtime that hangs is ended, and the step is lost instead of hanging with it", async () => {
  await using world = await startCopilotWorld({ silenceMs: 4_000 });
  const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b" }));
  await session.step(world);
  session.answer();
  const [pid = 0] = await world.runtimePids();

  process.kill(pid, "SIGSTOP");
  const error = await failureOf(world.backend.step(session.input(), new Memory(), new AbortController().signal));
  const output = await session.step(world);

  expect(error.isLost).toBe(true);
  expect(texts(output)).toBe("b");
});

test("a reply that is whole is kept when the runtime dies behind it, and the next step begins anew", async () => {
  await using world = await startCopilotWorld();
  const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b" }));
  await new Conversation().say(scripted({ text: "warm" })).step(world);
  const [pid = 0] = await world.runtimePids();
  const sink = new (class extends Memory {
    override blockCompleted(...args: Parameters<Memory["blockCompleted"]>): void {
      super.blockCompleted(...args);
      process.kill(pid, "SIGKILL");
    }
  })();

  const first = await session.step(world, sink);
  const second = await session.answer().step(world);

  expect(first.blocks).toMatchObject([{ type: "tool_call", name: "look" }]);
  expect(first.state).toBeUndefined();
  expect(texts(second)).toBe("b");
  expect(second.state?.replace).toBeDefined();
});

test("what the sink throws comes out as it is, and the runtime serves the next step", async () => {
  await using world = await startCopilotWorld();
  const own = new Error("the store is away");
  const sink = new (class extends Memory {
    override blockStarted(): void {
      throw own;
    }
  })();
  const session = new Conversation().say(scripted({ text: "a" }));

  const failed = world.backend.step(session.input(), sink, new AbortController().signal);

  await expect(failed).rejects.toBe(own);
  expect(texts(await session.step(world))).toBe("a");
  expect(world.warnings).toEqual([]);
});

test("the runtime is given no key, and no variable of ours", async () => {
  await using world = await startCopilotWorld();
  await new Conversation().say(scripted({ text: "a" })).step(world);
  const [pid = 0] = await world.runtimePids();

  const environment = (await readFile(`/proc/${pid}/environ`, "utf8")).split("\0").filter((one) => one !== "");
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8");

  const names = environment.map((one) => one.split("=")[0]).sort();
  expect(names).toEqual([
    "COPILOT_DISABLE_KEYTAR",
    "COPILOT_HOME",
    "COPILOT_STRIP_REASONING_ON_RESUME",
    "HOME",
    "PATH",
  ]);
  expect(`${environment.join()} ${commandLine}`).not.toContain(KEY);
  expect(commandLine).toContain("copilot-runtime");
  expect(await contentsOf(world.scratchDir)).not.toContain(KEY);
});

test("nothing of a conversation is left in the runtime's folder, and no folder after its end", async () => {
  await using world = await startCopilotWorld();
  const session = new Conversation().say(scripted({ text: "a very private answer", tools: [LOOK] }, { text: "b" }));
  await session.step(world);
  await session.answer().step(world);

  expect(await contentsOf(world.scratchDir)).not.toContain("private");
  await world.backend[Symbol.asyncDispose]?.();

  expect(await readdir(world.scratchDir)).toEqual([]);
  expect(await world.runtimePids()).toEqual([]);
});

test("a worn runtime serves its steps to their end, while the next step has a new one", async () => {
  await using world = await startCopilotWorld();
  let isWorn = true;
  const pool = new RuntimePool({
    platform: installedPlatform(),
    scratchDir: world.scratchDir,
    githubToken: undefined,
    warn: () => undefined,
    isWorn: async () => isWorn,
  });
  try {
    const old: RuntimeLease = await pool.take();
    isWorn = false;
    const next = await pool.take();

    expect(next.runtime.pid).not.toBe(old.runtime.pid);
    expect(old.runtime.isLost).toBe(false);
    old[Symbol.dispose]();
    await old.runtime.ended;
    expect(next.runtime.isLost).toBe(false);
    expect(await next.runtime.residentBytes()).toBeGreaterThan(1_000_000);
  } finally {
    await pool.stop();
  }
});

async function contentsOf(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const texts = await Promise.all(files.map((file) => readFile(path.join(file.parentPath, file.name), "latin1")));
  return texts.join("\n");
}
