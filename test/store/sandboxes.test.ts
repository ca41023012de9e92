/** Sandbox rows: one newest generation, each change said once, whoever makes it. */
import { expect, test } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Database } from "../../store/database.ts";
import { noteUse, restsSince } from "../../store/sandbox-use.ts";
import {
  beginSandbox,
  currentSandbox,
  hasLostSince,
  idleSandboxes,
  isHostSeen,
  readySandbox,
  type SandboxRecord,
  seeHost,
  sessionOfSandbox,
  stopSandboxRow,
  takeMaking,
  takeNews,
  type WantedSandbox,
} from "../../store/sandboxes.ts";
import { aMessage, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

const at = (generation: number, host = "h1"): WantedSandbox => ({
  provider: "local",
  host,
  generation,
  spec: {},
  restoredFrom: null,
});
const loss = { reason: "its host is gone", lost: ["the files"] };

async function ready(database: Database, sessionId: SessionId, wanted = at(1)): Promise<SandboxRecord> {
  const record = await beginSandbox(database, sessionId, wanted);
  await readySandbox(database, sessionId, record);
  // As whoever stops it would read it.
  return (await currentSandbox(database, sessionId)) as SandboxRecord;
}

test("the same generation begun by many at once is one, and is said once", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);

  const made = await Promise.all(
    ["h1", "h2", "h3"].map((host) => beginSandbox(store.database, sessionId, at(1, host))),
  );

  for (const record of made) expect(record).toEqual(made[0]);
  expect(await typesOf(store.database, sessionId)).toEqual(["session.created", "sandbox.starting"]);
});

test("a new generation says first that the one before is lost, and why; when it is ready, what it replaces", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  await ready(database, sessionId);

  const next = await ready(database, sessionId, { ...at(2, "h2"), loss });

  const log = (await logOf(database, sessionId)).slice(-4);
  expect(log).toMatchObject([
    { type: "sandbox.lost", generation: 1, message: "its host is gone" },
    { type: "sandbox.starting", generation: 2 },
    { type: "sandbox.ready", generation: 2 },
    { type: "sandbox.replaced", generation: 2, restoredFrom: null, lost: ["the files"] },
  ]);
  expect(await currentSandbox(database, sessionId)).toMatchObject({ generation: 2, host: "h2", state: "ready" });
  expect(sessionOfSandbox(next.sandboxId)).toEqual({ sessionId, generation: 2 });
});

test("a move is said once, and one that does not fit the state changes nothing", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const record = await ready(database, sessionId);

  await readySandbox(database, sessionId, record);
  for (const reason of ["idle", "idle", "closed", "closed", "idle"] as const) {
    await stopSandboxRow(database, sessionId, { record, reason });
  }
  await readySandbox(database, sessionId, record);

  const said = (await logOf(database, sessionId)).slice(2);
  expect(said).toMatchObject([{ type: "sandbox.ready" }, { type: "sandbox.stopped", reason: "idle" }]);
  expect((await currentSandbox(database, sessionId))?.state).toBe("stopped");
});

test("an idle sandbox is no lost one: what comes after it replaces nothing", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const record = await ready(database, sessionId);
  await stopSandboxRow(database, sessionId, { record, reason: "idle" });

  await ready(database, sessionId, at(2));

  expect((await typesOf(database, sessionId)).slice(-3)).toEqual([
    "sandbox.stopped",
    "sandbox.starting",
    "sandbox.ready",
  ]);
  expect(await hasLostSince(database.read, sessionId, 1)).toBe(false);
  expect(await database.write((tx) => takeNews(tx, sessionId))).toBeUndefined();
});

test("a sandbox rests when nothing of its session is at work, and from the end of the last of it", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const record = await ready(database, sessionId, { ...at(1), spec: { idleTimeoutMs: 1_000 } });
  const long = Date.now() - LIMITS.sandboxUseNotedMs - 2_000;
  await database.write((tx) => tx.updateTable("sandboxes").set({ used_at: long }).execute());
  const idle = async () => (await idleSandboxes(database)).map(({ idleMs }) => idleMs);
  const turn = (values: { state: string; ended_at: number | null }) =>
    database.write((tx) => tx.updateTable("turns").set(values).where("session_id", "=", sessionId).execute());

  const before = await idle();
  await aStep(database, await aMessage(database, sessionId));
  const during = [await idle(), await restsSince(database.read, sessionId)];
  await turn({ state: "completed", ended_at: Date.now() });
  const justAfter = await idle();
  await turn({ state: "completed", ended_at: long });

  expect(before).toEqual([1_000]);
  expect(during).toEqual([[], undefined]);
  expect(justAfter).toEqual([]);
  expect(await idle()).toEqual([1_000]);
  expect(await restsSince(database.read, sessionId)).toBe(long);
  expect(record.usedAt).toBeGreaterThan(long);
});

test("an idle sandbox that somebody uses while it is being stopped stays; whoever comes later is told that it is stopped", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  await ready(database, sessionId);
  await database.write((tx) => tx.updateTable("sandboxes").set({ used_at: 1 }).execute());
  const record = (await currentSandbox(database, sessionId)) as SandboxRecord;

  const wasThere = await noteUse(database, record);
  const stopped = await stopSandboxRow(database, sessionId, { record, reason: "idle" });
  const now = (await currentSandbox(database, sessionId)) as SandboxRecord;
  const stoppedLater = await stopSandboxRow(database, sessionId, { record: now, reason: "idle" });

  expect([wasThere, stopped, now.state]).toEqual([true, false, "ready"]);
  expect([stoppedLater, await noteUse(database, record)]).toEqual([true, false]);
});

test("the model is told of a loss once, and only when the next sandbox is there", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  await ready(database, sessionId);
  const record = await beginSandbox(database, sessionId, { ...at(2), loss });
  expect(await database.write((tx) => takeNews(tx, sessionId))).toBeUndefined();
  await readySandbox(database, sessionId, record);

  // What was to tell it came to nothing, so it is not told.
  const crashed = database.write(async (tx) => {
    await takeNews(tx, sessionId);
    throw new Error("crashed before the commit");
  });
  await expect(crashed).rejects.toThrow("crashed");
  const news = await Promise.all([1, 2, 3].map(() => database.write((tx) => takeNews(tx, sessionId))));

  expect(news.filter((one) => one !== undefined)).toEqual([{ lost: ["the files"], isRestored: false }]);
  expect(await hasLostSince(database.read, sessionId, 1)).toBe(true);
  expect(await hasLostSince(database.read, sessionId, 2)).toBe(false);
});

test("one process makes a sandbox, until it is silent for too long", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const record = await beginSandbox(database, sessionId, at(1));

  expect(await takeMaking(database, record, "a")).toBe("mine");
  expect(await takeMaking(database, record, "a")).toBe("mine");
  expect(await takeMaking(database, record, "b")).toBe("busy");
  await database.write((tx) => tx.updateTable("sandboxes").set({ maker_until: 1 }).execute());
  expect(await takeMaking(database, record, "b")).toBe("mine");
  expect(await takeMaking(database, record, "a")).toBe("busy");
  await readySandbox(database, sessionId, record);
  expect(await takeMaking(database, record, "a")).toBe("ready");
  await stopSandboxRow(database, sessionId, { record, reason: "closed" });
  expect(await takeMaking(database, record, "a")).toBe("gone");
});

test("a host is seen for a minute", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  expect(await isHostSeen(database, "h")).toBe(false);

  await seeHost(database, "h");
  await seeHost(database, "h");

  expect(await isHostSeen(database, "h")).toBe(true);
  await database.write((tx) =>
    tx
      .updateTable("hosts")
      .set({ seen_at: Date.now() - 61_000 })
      .execute(),
  );
  expect(await isHostSeen(database, "h")).toBe(false);
});

test("a sandbox of a session that is gone is not begun", async () => {
  await using store = await temporaryStore();

  await expect(beginSandbox(store.database, "gone", at(1))).rejects.toMatchObject({ name: "StoreError" });

  expect(await currentSandbox(store.database, "gone")).toBeUndefined();
});
