/** Threads for strangers' work: deadlines, deaths, bounds, and a share for each session. */
import { expect, onTestFinished, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { type PoolOptions, ThreadPool } from "../../threads/pool.ts";

/** Answers with the task's text; `spin` never ends, `die` ends the thread, `eat` takes all memory, `throw` throws. */
const PROGRAM = `
const { parentPort } = require("node:worker_threads");
parentPort.on("message", (task) => {
  if (task === "spin") for (;;);
  if (task === "die") process.exit(3);
  if (task === "throw") throw new Error("bad");
  if (task === "eat") { const all = []; for (;;) all.push(new Array(1e5).fill(all.length)); }
  parentPort.postMessage({ type: "answer", answer: task });
});
parentPort.postMessage({ type: "ready" });
`;

function aPool(options: Partial<PoolOptions> = {}): ThreadPool {
  const program = new URL(`data:text/javascript,${encodeURIComponent(moduleOf(PROGRAM))}`);
  const pool = new ThreadPool({ program, timeoutMs: 500, ...options });
  onTestFinished(() => pool.close());
  return pool;
}

function moduleOf(source: string): string {
  return source.replace(
    'const { parentPort } = require("node:worker_threads");',
    'import { parentPort } from "node:worker_threads";',
  );
}

test("a task is answered", async () => {
  expect(await aPool().run("a", "one")).toEqual({ ended: "done", answer: "a" });
});

test.each([
  ["spin", "too_long"],
  ["die", "failed"],
  ["throw", "failed"],
] as const)("a task that does %j ends as %s, and the next is answered", async (task, ended) => {
  const pool = aPool({ threads: 1 });

  expect(await pool.run(task, "one")).toEqual({ ended });
  expect(await pool.run("a", "one")).toEqual({ ended: "done", answer: "a" });
});

test("a task that takes all memory ends its thread, not the process", { timeout: 60_000 }, async () => {
  const pool = aPool({ threads: 1, timeoutMs: 50_000 });

  expect(await pool.run("eat", "one")).toEqual({ ended: "failed" });
  expect(await pool.run("a", "one")).toEqual({ ended: "done", answer: "a" });
});

test("a task that cannot be copied ends as failed", async () => {
  expect(await aPool().run(() => 1, "one")).toEqual({ ended: "failed" });
});

test("a session with hard tasks delays itself, and nobody else", async () => {
  const pool = aPool({ timeoutMs: 5_000 });
  const ended: string[] = [];
  const hard = Array.from({ length: 5 }, () => pool.run("spin", "hard").then(() => ended.push("hard")));

  for (let round = 0; round < 20; round += 1) {
    expect(await pool.run(round, "easy")).toEqual({ ended: "done", answer: round });
  }

  expect(ended).toEqual([]);
  await pool.close();
  await Promise.all(hard);
});

test("more than a session's share is refused at once, and others are not", async () => {
  const pool = aPool();
  const many = Array.from({ length: LIMITS.threadTasksWaitingPerKey + 2 }, () => pool.run("spin", "hard"));

  expect(await many.at(-1)).toEqual({ ended: "too_many" });
  expect(await pool.run("a", "easy")).toEqual({ ended: "done", answer: "a" });
  await pool.close();
  expect((await Promise.all(many)).every(({ ended }) => ended !== "done")).toBe(true);
});
