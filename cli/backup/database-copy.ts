/** Consistent copies of SQLite databases that other processes are writing, and the check that a copy is whole. */
import { backup, DatabaseSync } from "node:sqlite";
import { BackupError, reasonOf } from "./backup-error.ts";

/** All pages in one step: between two steps another process's write would make SQLite begin again. */
const ALL_PAGES = 2 ** 31 - 1;
const BUSY_MS = 10_000;

/**
 * Copies a database as it is at one instant, page by page with SQLite's backup API, and checks the copy.
 * `VACUUM INTO` would renumber the rows that Temporal's full-text index refers to.
 */
export async function copyDatabase(source: string, target: string): Promise<void> {
  try {
    const database = new DatabaseSync(source, { readOnly: true, timeout: BUSY_MS });
    try {
      await backup(database, target, { rate: ALL_PAGES });
    } finally {
      database.close();
    }
  } catch (error) {
    throw new BackupError(`${source} cannot be copied: ${reasonOf(error)}`, { cause: error });
  }
  checkDatabase(target);
}

/** @throws BackupError when the file is not a database or one of its pages is damaged. */
export function checkDatabase(file: string): void {
  let found: unknown;
  try {
    const database = new DatabaseSync(file, { readOnly: true });
    try {
      found = database.prepare("pragma integrity_check(1)").get()?.["integrity_check"];
    } finally {
      database.close();
    }
  } catch (error) {
    throw new BackupError(`${file} is not a usable database: ${reasonOf(error)}`, { cause: error });
  }
  if (found !== "ok") throw new BackupError(`${file} is damaged: ${String(found)}`);
}

/** The blobs that artifacts and snapshots name. Rows of blobs that nothing names are left to the sweeper. */
const USED_BLOBS =
  "select sha256 from artifacts union select sha256 from snapshot_blobs union select manifest from snapshots where manifest <> '' order by 1";

/** What a backup has to know of the store: how many sessions it has, and the blobs that its rows name. */
export function readStoreCopy(file: string): { readonly sessions: number; readonly blobs: readonly string[] } {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const sessions = Number(database.prepare("select count(*) as n from sessions").get()?.["n"] ?? 0);
    const blobs = database.prepare(USED_BLOBS).all();
    return { sessions, blobs: blobs.map((row) => String(row["sha256"])) };
  } catch (error) {
    throw new BackupError(`${file} is not a database of Perdure's: ${reasonOf(error)}`, { cause: error });
  } finally {
    database.close();
  }
}
