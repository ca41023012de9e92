/** The database file: made by whoever comes first, refused in words when it cannot be used, and never waited for without end. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { type Database, openDatabase } from "../../store/database.ts";
import { MIGRATIONS } from "../../store/migrations.ts";
import { openSqlite } from "../../store/sqlite.ts";
import { startProgram } from "./fixtures/child-program.ts";
import { aMessage, aSession, logOf, temporaryFolder, temporaryStore } from "./store-builder.ts";

test("processes that open new files at the same instant all succeed, and each migration runs once", {
  timeout: 20_000,
}, async () => {
  using folder = temporaryFolder();
  const files = Array.from({ length: 30 }, (_, i) => path.join(folder.path, String(i), "perdure.db"));
  const start = String(Date.now() + 1_000);
  await using a = startProgram("opener.ts", start, ...files);
  await using b = startProgram("opener.ts", start, ...files);

  expect(await Promise.all([a.ended, b.ended])).toEqual([0, 0]);

  for (const file of files) {
    const raw = new DatabaseSync(file);
    const names = raw.prepare("select name from migrations").all();
    raw.close();
    expect(names.map((row) => row["name"])).toEqual(MIGRATIONS.map((migration) => migration.name));
  }
});

test("opening again changes nothing", async () => {
  using folder = temporaryFolder();
  const file = path.join(folder.path, "perdure.db");
  const first = await openDatabase(file);
  await aMessage(first, await aSession(first, { id: "s1" }));
  await first.close();

  const second = await openDatabase(file);
  expect(await logOf(second, "s1")).toHaveLength(2);
  await second.close();
});

test("a file that a newer Perdure wrote is refused in words, and stays as it is", async () => {
  using folder = temporaryFolder();
  const file = path.join(folder.path, "perdure.db");
  await (await openDatabase(file)).close();
  const raw = new DatabaseSync(file);
  raw.exec("insert into migrations (name, applied_at) values ('0099-of-the-future', 1)");
  raw.close();

  const opened = openDatabase(file);

  await expect(opened).rejects.toMatchObject({ name: "StoreError", kind: "corrupt" });
  await expect(opened).rejects.toThrow(/newer Perdure .*0099-of-the-future.*update/);
});

test("a file that is no database is refused in words", async () => {
  using folder = temporaryFolder();
  const file = path.join(folder.path, "perdure.db");
  writeFileSync(file, "this is not a database, only text that is long enough to look like a header ".repeat(20));

  const opened = openDatabase(file);

  await expect(opened).rejects.toMatchObject({ name: "StoreError", kind: "corrupt" });
  await expect(opened).rejects.toThrow(/not a database.*another state directory/);
});

test("a folder in the file's place is refused in words", async () => {
  using folder = temporaryFolder();
  const file = path.join(folder.path, "perdure.db");
  mkdirSync(file);

  await expect(openDatabase(file)).rejects.toMatchObject({ name: "StoreError", kind: "failed" });
});

test("while another process holds the lock, writers wait, the event loop goes on, and all succeed when it lets go", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  await using holder = startProgram("lock-holder.ts", store.file);
  await holder.line();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 2);

  const writes = [1, 2, 3].map(() => aMessage(store.database, sessionId));
  const state = Promise.race([...writes.map((write) => write.then(() => "written")), untilTicks(() => ticks, 60)]);
  expect(await state).toBe("60 ticks");
  expect(await logOf(store.database, sessionId)).toHaveLength(1); // Readers are not held up.
  holder.kill();
  await Promise.all(writes);

  clearInterval(timer);
  expect((await logOf(store.database, sessionId)).filter((event) => event.type === "message.received")).toHaveLength(3);
});

async function untilTicks(ticks: () => number, wanted: number): Promise<string> {
  while (ticks() < wanted) await new Promise((resolve) => setImmediate(resolve));
  return `${wanted} ticks`;
}

test("writers give up after the bound, all of them at once and in words, and the next finds the lock free", async () => {
  const BUSY_MS = 400;
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  await using database = await impatient(store.file, BUSY_MS);
  await using holder = startProgram("lock-holder.ts", store.file);
  await holder.line();
  const began = Date.now();

  const results = await Promise.allSettled([1, 2, 3, 4].map(() => aMessage(database, sessionId)));

  const took = Date.now() - began;
  for (const result of results) {
    expect(result).toMatchObject({ status: "rejected", reason: { name: "StoreError", kind: "locked" } });
  }
  expect(took).toBeGreaterThanOrEqual(BUSY_MS);
  expect(took).toBeLessThan(BUSY_MS * 2);
  expect(await Promise.allSettled([aMessage(database, sessionId)])).toMatchObject([{ status: "rejected" }]);
  expect(Date.now() - began).toBeGreaterThanOrEqual(BUSY_MS * 2); // Who asks later waits as long.
  holder.kill();
  await holder.ended;
  await aMessage(database, sessionId);
});

async function impatient(file: string, busyMs: number): Promise<Database & AsyncDisposable> {
  const database = await openDatabase(file, busyMs);
  return { ...database, [Symbol.asyncDispose]: () => database.close() };
}

test("a write that fails leaves the connection usable, and what it had written is gone", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  await aSession(database, { id: "s1" });

  const failed = database.write(async (tx) => {
    await tx.updateTable("sessions").set({ title: "half" }).execute();
    await sql`insert into sessions (id) values ('s1')`.execute(tx);
  });

  await expect(failed).rejects.toThrow(/constraint/i);
  const row = await database.read.selectFrom("sessions").select("title").executeTakeFirstOrThrow();
  expect(row.title).toBeNull();
  await aSession(database, { id: "s2" });
});

test("another process's commit is seen by the data version, and nothing else is", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const before = database.dataVersion();
  expect(database.dataVersion()).toBe(before);

  await aSession(database);

  expect(database.dataVersion()).not.toBe(before);
});

test("many different statements do not pile up, and stay right", async () => {
  using folder = temporaryFolder();
  const { kysely, close } = await openSqlite(path.join(folder.path, "x.db"), "writer", {
    busyMs: 0,
    synchronous: "normal",
  });

  for (let i = 0; i < 1_200; i++) {
    const { rows } = await sql<{ n: number }>`select ${sql.raw(String(i))} as n`.execute(kysely);
    if (rows[0]?.n !== i) throw new Error(`expected ${i}, got ${rows[0]?.n}`);
  }
  const again = await sql<{ n: number }>`select 7 as n`.execute(kysely);

  expect(again.rows).toEqual([{ n: 7 }]);
  await close();
});

test.each(["normal", "full"] as const)(
  "synchronous %s holds for what writes and for what reads",
  async (synchronous) => {
    using folder = temporaryFolder();
    const database = await openDatabase(path.join(folder.path, "x.db"), 1_000, synchronous);

    const { rows } = await sql<{ synchronous: number }>`pragma synchronous`.execute(database.read);

    expect(rows).toEqual([{ synchronous: synchronous === "full" ? 2 : 1 }]);
    const written = await database.write((tx) => sql<{ synchronous: number }>`pragma synchronous`.execute(tx));
    expect(written.rows).toEqual(rows);
    await database.close();
  },
);
