/** What the store lets go: closed sessions, blobs that nobody names, and the pages that deleted rows leave; in bounded rounds. */
import { mkdirSync, statSync, utimesSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { newId, type SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { sweepBlobs } from "../../store/blob-sweep.ts";
import { dropClosedSnapshots, purgeClosed } from "../../store/closed-sessions.ts";
import { openDatabase } from "../../store/database.ts";
import { append } from "../../store/event-log.ts";
import { giveBackFreePages } from "../../store/free-pages.ts";
import { beginSandbox } from "../../store/sandboxes.ts";
import { closeSession } from "../../store/session-closing.ts";
import { purgeSession } from "../../store/sessions.ts";
import { openStore } from "../../store/store.ts";
import { aSession, type TemporaryStore, temporaryFolder, temporaryStore } from "./store-builder.ts";

const DAY_MS = 24 * 3_600_000;
const MIB = 1024 * 1024;

async function aClosedSession({ database }: TemporaryStore, agoMs: number): Promise<SessionId> {
  const id = await aSession(database);
  await closeSession(database, id);
  const closed_at = Date.now() - agoMs;
  await database.write((tx) => tx.updateTable("sessions").set({ closed_at }).where("id", "=", id).execute());
  return id;
}

async function sessionsOf({ database }: TemporaryStore): Promise<readonly string[]> {
  return (await database.read.selectFrom("sessions").select("id").orderBy("id").execute()).map(({ id }) => id);
}

/** Files that were stored long ago and have no row. */
async function strays(store: TemporaryStore, count: number): Promise<readonly string[]> {
  const names: string[] = [];
  for (let n = 0; n < count; n++) {
    const { sha256 } = await store.blobs.put(Buffer.from(`stray ${n}`));
    utimesSync(path.join(store.folder, "blobs", sha256.slice(0, 2), sha256), 1, 1);
    names.push(sha256);
  }
  return names.toSorted();
}

async function there(store: TemporaryStore, names: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of names) if (await store.blobs.has(name)) found.push(name);
  return found;
}

test("sessions that were closed long enough ago are deleted, others stay", async () => {
  await using store = await temporaryStore();
  const open = await aSession(store.database);
  const young = await aClosedSession(store, 2 * DAY_MS);
  const old = await aClosedSession(store, 4 * DAY_MS);

  expect(await purgeClosed(store.database, 3 * DAY_MS)).toEqual([old]);

  expect(await sessionsOf(store)).toEqual([open, young].toSorted());
  const events = await store.database.read.selectFrom("events").select("session_id").distinct().execute();
  expect(events.map(({ session_id }) => session_id).toSorted()).toEqual([open, young].toSorted());
});

test("a closed session whose sandbox is still there waits for its removal", async () => {
  await using store = await temporaryStore();
  const old = await aSession(store.database);
  const wanted = { provider: "local" as const, host: "h", generation: 1, spec: {}, restoredFrom: null };
  await beginSandbox(store.database, old, wanted);
  await closeSession(store.database, old);
  await store.database.write((tx) => tx.updateTable("sessions").set({ closed_at: 1 }).execute());

  expect(await purgeClosed(store.database, DAY_MS)).toEqual([]);
  await store.database.write((tx) => tx.updateTable("sandboxes").set({ state: "stopped" }).execute());
  expect(await purgeClosed(store.database, DAY_MS)).toEqual([old]);
});

test("a round deletes so many sessions, the oldest first, and the next one goes on", async () => {
  await using store = await temporaryStore();
  const ids: SessionId[] = [];
  for (let n = 0; n < LIMITS.closedPerSweep + 3; n++) ids.push(await aClosedSession(store, (100 - n) * DAY_MS));

  expect(await purgeClosed(store.database, DAY_MS)).toEqual(ids.slice(0, LIMITS.closedPerSweep));
  expect(await purgeClosed(store.database, DAY_MS)).toEqual(ids.slice(LIMITS.closedPerSweep));
});

test("snapshots that a closed session has left are removed with their blobs, those of others stay", async () => {
  await using store = await temporaryStore();
  const { database, blobs } = store;
  const kept = async (id: SessionId): Promise<string> => {
    const blob = await blobs.put(Buffer.from(`workspace of ${id}`));
    const snapshot = { id: newId("snap"), session_id: id, generation: 1, turn_id: null, manifest: blob.sha256 };
    const sums = { native: null, files: 1, bytes: blob.bytes, stored_bytes: blob.bytes, made_at: 1 };
    await database.write(async (tx) => {
      await tx
        .insertInto("blobs")
        .values({ ...blob, created_at: 1 })
        .execute();
      await tx
        .insertInto("snapshots")
        .values({ ...snapshot, ...sums })
        .execute();
      await tx.insertInto("snapshot_blobs").values({ snapshot_id: snapshot.id, sha256: blob.sha256 }).execute();
    });
    return blob.sha256;
  };
  const ofOpen = await kept(await aSession(database));
  const ofClosed = await kept(await aClosedSession(store, 0));

  expect(await dropClosedSnapshots(store)).toBe(1);

  expect(await there(store, [ofOpen, ofClosed])).toEqual([ofOpen]);
  expect(await dropClosedSnapshots(store)).toBe(0);
});

test("the sweep of blobs looks at so many in one go, and goes on from there after a restart", async () => {
  await using store = await temporaryStore();
  const names = await strays(store, 10);
  const sweep = (from: Pick<TemporaryStore, "database" | "blobs">) =>
    sweepBlobs(from.database, from.blobs, { ageMs: 1_000, most: 4 });

  expect(await sweep(store)).toEqual({ looked: 4, isThrough: false });
  expect(await there(store, names)).toEqual(names.slice(4));
  await using again = await openStore(store.folder);
  expect(await sweep(again)).toEqual({ looked: 4, isThrough: false });
  expect(await there(store, names)).toEqual(names.slice(8));
  expect(await sweep(store)).toEqual({ looked: 2, isThrough: true });

  const [early] = await strays(store, 1);
  await sweep(store);
  expect(await store.blobs.has(early ?? "")).toBe(false);
});

test("rows of blobs that nobody names are met by the same walk, whichever there are more of", async () => {
  await using store = await temporaryStore();
  const { database, blobs } = store;
  const files = await strays(store, 5);
  const rows = Array.from({ length: 11 }, (_, n) => ({
    sha256: n.toString(16).repeat(64).slice(0, 64),
    bytes: 1,
    created_at: 1,
  }));
  await database.write((tx) => tx.insertInto("blobs").values(rows).execute());

  let rounds = 1;
  while (!(await sweepBlobs(database, blobs, { ageMs: 1_000, most: 3 })).isThrough) rounds++;

  expect(rounds).toBeLessThanOrEqual(6);
  expect(await there(store, files)).toEqual([]);
  expect(await database.read.selectFrom("blobs").selectAll().execute()).toEqual([]);
});

test("pages that deleted rows leave are given back in small transactions, but for what new rows will take", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  for (let n = 0; n < 12; n++) {
    const facts = Array.from(
      { length: 64 },
      () => ({ type: "message.refused", messageId: "m", message: "x".repeat(15_000) }) as const,
    );
    await database.write((tx) => append(tx, id, facts));
  }
  const full = database.space().bytes;
  expect(full).toBeGreaterThan(11 * MIB);
  await purgeSession(database, id);

  const given = await giveBackFreePages(database);

  const { bytes, freeBytes } = database.space();
  expect(given).toBeGreaterThan(6 * MIB);
  expect(bytes).toBe(full - given);
  expect(freeBytes).toBeLessThanOrEqual(LIMITS.freeBytesKept);
  expect(await giveBackFreePages(database)).toBe(0);
});

test("a small file of an earlier version learns to give pages back at a start, and keeps what is in it", async () => {
  using folder = temporaryFolder();
  const file = path.join(folder.path, "perdure.db");
  mkdirSync(folder.path, { recursive: true });
  const old = new DatabaseSync(file);
  old.exec("pragma page_size = 8192; pragma journal_mode = wal; create table kept (text text); begin");
  const insert = old.prepare("insert into kept values (?)");
  for (let n = 0; n < 6_000; n++) insert.run("x".repeat(2_000));
  old.exec("commit; delete from kept where rowid > 10");
  old.close();
  const before = statSync(file).size;

  const database = await openDatabase(file);
  await database.close();

  expect(before).toBeGreaterThan(11 * MIB);
  expect(statSync(file).size).toBeLessThan(MIB);
  const now = new DatabaseSync(file);
  expect(now.prepare("pragma auto_vacuum").get()).toEqual({ auto_vacuum: 2 });
  expect(now.prepare("select count(*) as count from kept").get()).toEqual({ count: 10 });
  now.close();
});

test("one that is too large to be written anew in a moment is left as it is, and works", async () => {
  using folder = temporaryFolder();
  const file = path.join(folder.path, "perdure.db");
  const old = new DatabaseSync(file);
  old.exec("pragma page_size = 8192; pragma journal_mode = wal; create table kept (bytes blob)");
  old.exec(`insert into kept values (zeroblob(${LIMITS.vacuumAtOnceBytes}))`);
  old.exec("create table more (bytes blob); insert into more values (zeroblob(16000000)); drop table more");
  old.close();

  const database = await openDatabase(file);

  expect(await giveBackFreePages(database)).toBe(0);
  await aSession(database);
  await database.close();
  expect(statSync(file).size).toBeGreaterThan(LIMITS.vacuumAtOnceBytes);
});
