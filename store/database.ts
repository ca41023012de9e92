/** One database, two ways in: `read` for queries, `write` for transactions. The dialect is chosen here and nowhere else. */
import path from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { type Kysely, sql, type Transaction } from "kysely";
import { LIMITS } from "../contract/limits.ts";
import { StoreError } from "./error.ts";
import { makeFolders } from "./folders.ts";
import { MIGRATIONS } from "./migrations.ts";
import type { Schema } from "./schema.ts";
import { openSqlite, type Synchronous } from "./sqlite.ts";

export type Dialect = "sqlite" | "postgres";
export type Tx = Transaction<Schema>;

export interface Database {
  readonly dialect: Dialect;
  readonly read: Kysely<Schema>;
  /** All or nothing. What `work` does besides the database may happen, and its commit fail: so it does nothing else. */
  write<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /** A number that is another one when another connection has committed something. Cheap: no lock, no read of a table. */
  dataVersion(): number;
  /** Of the file: what is in use, and what deleted rows have left. */
  space(): { readonly bytes: number; readonly freeBytes: number };
  /** Gives so much of that back to the disk, in one transaction. Returns how much it was; 0 where the file cannot do so. */
  shrink(bytes: number): Promise<number>;
  close(): Promise<void>;
}

/** Opens the embedded database, making and migrating it when needed; safe when several processes do so at once. A transaction waits `busyMs` for another process's lock. */
export async function openDatabase(
  file: string,
  busyMs: number = LIMITS.databaseBusyMs,
  synchronous: Synchronous = "normal",
): Promise<Database> {
  makeFolders(path.dirname(file));
  const writer = await openSqlite(file, "writer", { busyMs, synchronous });
  const reader = await openSqlite(file, "reader", { busyMs, synchronous });
  const dataVersion = reader.raw.prepare("pragma data_version");
  const database: Database = {
    dialect: "sqlite",
    read: reader.kysely,
    write: (work) => writer.transaction(work),
    dataVersion: () => {
      const version = dataVersion.get()?.["data_version"];
      if (typeof version !== "number") throw new StoreError("failed", "SQLite gave no data_version");
      return version;
    },
    space: () => spaceOf(reader.raw),
    shrink: async (bytes) => {
      if (numberOf(reader.raw, "auto_vacuum") !== INCREMENTAL) return 0;
      const before = spaceOf(reader.raw).freeBytes;
      const pages = Math.max(1, Math.floor(bytes / numberOf(reader.raw, "page_size")));
      await writer.transaction(async () => writer.raw.exec(`pragma incremental_vacuum(${pages})`));
      return Math.max(0, before - spaceOf(reader.raw).freeBytes);
    },
    close: async () => {
      await writer.close();
      await reader.close();
    },
  };
  try {
    await migrate(database);
    makeShrinkable(writer.raw);
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

const INCREMENTAL = 2;

/**
 * A file of an earlier version is written anew, once, so that it can give back what becomes free. A large one is left as it is:
 * nobody could write meanwhile. So is one that somebody else writes at this moment: the next start will do.
 */
function makeShrinkable(raw: DatabaseSync): void {
  if (numberOf(raw, "auto_vacuum") === INCREMENTAL) return;
  if (spaceOf(raw).bytes > LIMITS.vacuumAtOnceBytes) return;
  try {
    raw.exec("pragma auto_vacuum = incremental; vacuum");
  } catch {
    // Locked, or no room for the copy: it is as good as it was.
  }
}

function spaceOf(raw: DatabaseSync): { readonly bytes: number; readonly freeBytes: number } {
  const page = numberOf(raw, "page_size");
  return { bytes: numberOf(raw, "page_count") * page, freeBytes: numberOf(raw, "freelist_count") * page };
}

function numberOf(raw: DatabaseSync, pragma: string): number {
  const value = raw.prepare(`pragma ${pragma}`).get()?.[pragma];
  if (typeof value !== "number") throw new StoreError("failed", `SQLite gave no ${pragma}`);
  return value;
}

async function migrate(database: Database): Promise<void> {
  // One transaction over all of it: of two processes that start at once, the second waits and then finds nothing to do.
  await database.write(async (tx) => {
    await sql`create table if not exists migrations (name text primary key, applied_at bigint not null)`.execute(tx);
    const { rows } = await sql<{ name: string }>`select name from migrations`.execute(tx);
    const applied = new Set(rows.map((row) => row.name));
    const unknown = [...applied].filter((name) => !MIGRATIONS.some((migration) => migration.name === name));
    if (unknown.length > 0) {
      throw new StoreError(
        "corrupt",
        `the database was written by a newer Perdure (it has ${unknown.join(", ")}); update, or use another state directory`,
      );
    }
    for (const migration of MIGRATIONS) {
      if (applied.has(migration.name)) continue;
      await migration.up(tx, database.dialect);
      await sql`insert into migrations (name, applied_at) values (${migration.name}, ${Date.now()})`.execute(tx);
    }
  });
}
