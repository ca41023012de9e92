/** Sandbox rows: one newest generation, each change said once, whoever makes it. */
import { expect, test } from "vitest";
import { beginSandbox, currentSandbox, moveSandbox } from "../../store/sandboxes.ts";
import { aSession, logOf, temporaryStore, typesOf } from "./store-builder.ts";

const at = (generation: number, host = "h1") => ({ provider: "local", host, generation });

test("the same generation begun by many at once is one, and is said once", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);

  const made = await Promise.all([1, 2, 3].map(() => beginSandbox(store.database, sessionId, at(1))));

  for (const record of made) expect(record).toEqual(made[0]);
  expect(await typesOf(store.database, sessionId)).toEqual(["session.created", "sandbox.starting"]);
});

test("a new generation says first that the one before is lost, and why", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const record = await beginSandbox(database, sessionId, at(1));
  await moveSandbox(database, sessionId, { record, from: ["starting"], to: "ready" });

  await beginSandbox(database, sessionId, { ...at(2, "h2"), lost: "its host is gone" });

  const log = (await logOf(database, sessionId)).slice(-2);
  expect(log).toMatchObject([
    { type: "sandbox.lost", generation: 1, message: "its host is gone" },
    { type: "sandbox.starting", generation: 2 },
  ]);
  expect(await currentSandbox(database, sessionId)).toMatchObject({ generation: 2, host: "h2", state: "starting" });
});

test("a move is said once, and one that does not fit the state changes nothing", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const record = await beginSandbox(database, sessionId, at(1));
  const ready = { record, from: ["starting"], to: "ready" } as const;
  const stopped = { record, from: ["starting", "ready"], to: "stopped" } as const;

  for (const move of [ready, ready, stopped, stopped, ready]) await moveSandbox(database, sessionId, move);

  expect((await typesOf(database, sessionId)).slice(2)).toEqual(["sandbox.ready", "sandbox.stopped"]);
  expect((await currentSandbox(database, sessionId))?.state).toBe("stopped");
});

test("a sandbox of a session that is gone is not begun", async () => {
  await using store = await temporaryStore();

  await expect(beginSandbox(store.database, "gone", at(1))).rejects.toMatchObject({ name: "StoreError" });

  expect(await currentSandbox(store.database, "gone")).toBeUndefined();
});
