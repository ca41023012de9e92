/**
 * The walk over all blobs, for the sweeper: by name, so many in one go, and the next time from there on. Where it is stands in
 * the store, so that it goes on after a restart, whichever worker is next.
 */
import { LIMITS } from "../contract/limits.ts";
import { removeStrayBlobs, removeUnusedBlobs } from "./artifacts.ts";
import type { BlobStore } from "./blobs.ts";
import type { Database } from "./database.ts";

const PLACE = "blob-sweep";
/** Names are SHA-256 in hexadecimal digits: all come before it. */
const END = "g";
const NAMES_PER_QUERY = 500;

export interface BlobSweep {
  readonly ageMs: number;
  /** How many are looked at; default: LIMITS.blobsPerSweep. */
  readonly most?: number;
}

/**
 * Removes the blobs that were stored so long ago and never got a row, because their writer was killed in between; and those
 * whose row nobody uses. Returns how many files it looked at, and whether it has come to the end.
 */
export async function sweepBlobs(
  database: Database,
  blobs: BlobStore,
  { ageMs, most = LIMITS.blobsPerSweep }: BlobSweep,
): Promise<{ readonly looked: number; readonly isThrough: boolean }> {
  const from = await placeOf(database);
  const files = await blobs.after(from, most);
  const rows = await rowsAfter(database, from, most);
  // As far as both have been read.
  const ends = [files, rows].map((names) => (names.length < most ? END : (names.at(-1) ?? END)));
  const end = ends.toSorted()[0] ?? END;
  const within = (name: string): boolean => name <= end;
  for (const names of chunked(rows.filter(within))) await removeUnusedBlobs(database, blobs, names);
  for (const names of chunked(files.filter(within))) {
    const known = await knownAmong(database, names);
    const strays = await blobs.olderThan(
      names.filter((name) => !known.has(name)),
      ageMs,
    );
    await removeStrayBlobs(database, blobs, strays);
  }
  await setPlace(database, end === END ? "" : end);
  return { looked: files.filter(within).length, isThrough: end === END };
}

async function rowsAfter(database: Database, from: string, most: number): Promise<readonly string[]> {
  const query = database.read.selectFrom("blobs").select("sha256").where("sha256", ">", from);
  return (await query.orderBy("sha256").limit(most).execute()).map(({ sha256 }) => sha256);
}

async function knownAmong(database: Database, names: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await database.read
    .selectFrom("blobs")
    .select("sha256")
    .where("sha256", "in", [...names])
    .execute();
  return new Set(rows.map(({ sha256 }) => sha256));
}

async function placeOf(database: Database): Promise<string> {
  const row = await database.read.selectFrom("settings").select("value").where("name", "=", PLACE).executeTakeFirst();
  return row?.value ?? "";
}

async function setPlace(database: Database, value: string): Promise<void> {
  await database.write((tx) =>
    tx
      .insertInto("settings")
      .values({ name: PLACE, value })
      .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
      .execute(),
  );
}

function* chunked(names: readonly string[]): Generator<readonly string[]> {
  for (let start = 0; start < names.length; start += NAMES_PER_QUERY) yield names.slice(start, start + NAMES_PER_QUERY);
}
