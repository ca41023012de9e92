/** Names of queues: each kind of work has its own, and what older versions polled stays served. */
import { expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import {
  hostQueue,
  kindQueue,
  OLD_QUEUE,
  oldHostQueue,
  stackQueue,
  WORK_KINDS,
  workerQueue,
} from "../../contract/task-queue.ts";
import { KIND_OF } from "../../workflows/work-kinds.ts";

test("no two kinds of work share a queue, on a stack, a host or among those with the same abilities", () => {
  const bases = [stackQueue("s"), hostQueue("s", "h"), workerQueue("s", { host: "h", worker: "h/1:2" })];
  const names = bases.flatMap((base) => WORK_KINDS.map((kind) => kindQueue(base, kind)));

  expect(new Set(names).size).toBe(bases.length * WORK_KINDS.length);
});

test("work of sessions of before 0.4 goes to the queues that their workers poll", () => {
  for (const kind of WORK_KINDS) {
    expect(kindQueue(OLD_QUEUE, kind)).toBe(OLD_QUEUE);
    expect(kindQueue(oldHostQueue("h"), kind)).toBe(oldHostQueue("h"));
  }
});

test("what ends turns and sessions has slots that nothing that lasts can take", () => {
  const lasting = ["runStep", "runTool", "runCallerCommand", "serveTerminal", "serveWorkspace", "snapshotWorkspace"];
  const ending = ["stopCalls", "closeSession", "purgeSession", "giveUpCommand", "listHostQueues"] as const;

  for (const name of lasting) expect(KIND_OF).not.toHaveProperty(name, "upkeep");
  for (const name of ending) expect(KIND_OF[name]).toBe("upkeep");
});

test("a model's step is on the queue of its workflow, so that Temporal may return it with the workflow's own task", () => {
  expect(kindQueue(stackQueue("s"), KIND_OF.runStep)).toBe(stackQueue("s"));
});

test("every kind of work has slots", () => {
  for (const kind of WORK_KINDS) expect(LIMITS.slots[kind]).toBeGreaterThan(0);
});
