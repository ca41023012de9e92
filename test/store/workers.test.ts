/** Running workers: a row while they live, renewed, withdrawn, and gone with those that were killed. */
import { expect, test } from "vitest";
import type { WorkerAnnouncement } from "../../contract/backends.ts";
import { LIMITS } from "../../contract/limits.ts";
import { announcedWorkers, announceWorker, runningWorkers, withdrawWorker } from "../../store/workers.ts";
import { temporaryStore } from "./store-builder.ts";

const announces = (tool: string): WorkerAnnouncement => ({
  host: "here",
  sandboxes: [],
  tools: [{ name: tool, description: "Does something.", source: "built-in", changesWorld: false }],
  backends: [{ name: "openai", defaultModel: "a-model", models: [], validation: null }],
});

test("a worker is known with what it announces, and what it says anew replaces what it said", async () => {
  await using store = await temporaryStore();

  await announceWorker(store.database, { id: "here:1", announcement: announces("old") });
  await announceWorker(store.database, { id: "here:1", announcement: announces("new") });

  expect(await runningWorkers(store.database)).toEqual([announces("new")]);
});

test("a worker that withdraws is gone, the others stay, and withdrawing twice changes nothing", async () => {
  await using store = await temporaryStore();
  await announceWorker(store.database, { id: "here:1", announcement: announces("one") });
  await announceWorker(store.database, { id: "here:2", announcement: announces("two") });

  await withdrawWorker(store.database, "here:1");
  await withdrawWorker(store.database, "here:1");

  expect(await runningWorkers(store.database)).toEqual([announces("two")]);
});

test("a worker that was killed is passed over when its time is up, and its row goes with the next announcement", async () => {
  await using store = await temporaryStore();
  await announceWorker(store.database, { id: "killed", announcement: announces("one") });
  const longAgo = Date.now() - LIMITS.announcedKeptMs - 1;
  await store.database.write((tx) => tx.updateTable("workers").set({ seen_at: longAgo }).execute());

  expect(await runningWorkers(store.database)).toEqual([]);
  expect(await announcedWorkers(store.database)).toEqual(["killed"]);
  await announceWorker(store.database, { id: "alive", announcement: announces("two") });
  expect(await announcedWorkers(store.database)).toEqual(["alive"]);
});

test("a renewed row of a worker that was taken for dead is there again", async () => {
  await using store = await temporaryStore();
  await announceWorker(store.database, { id: "slow", announcement: announces("one") });
  await store.database.write((tx) => tx.updateTable("workers").set({ seen_at: 1 }).execute());

  await announceWorker(store.database, { id: "slow", announcement: announces("one") });

  expect(await runningWorkers(store.database)).toHaveLength(1);
});

test("what a worker of another version announces in another form hides no other worker", async () => {
  await using store = await temporaryStore();
  await announceWorker(store.database, { id: "here:1", announcement: announces("one") });
  await store.database.write((tx) =>
    tx
      .insertInto("workers")
      .values({ id: "other", started_at: Date.now(), seen_at: Date.now(), announcement: '{"tools":"many"}' })
      .execute(),
  );

  expect(await runningWorkers(store.database)).toEqual([announces("one")]);
});
