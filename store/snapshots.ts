/**
 * Snapshots of workspaces as rows: the newest few of each session, the blobs that each names, and the event that tells of it.
 *
 * A blob that a row names is in the store. Whoever removes blobs looks for such rows in the transaction that removes, and
 * whoever makes rows looks for the blobs in the transaction that makes them: so of the two that meet, the second gives way.
 */
import type { Kysely } from "kysely";
import type { SandboxId, SessionId, SnapshotId, TurnId } from "../contract/ids.ts";
import { newId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { SandboxSpec } from "../contract/sandbox.ts";
import { removeUnusedBlobs } from "./artifacts.ts";
import type { Blob } from "./blobs.ts";
import type { Database, Tx } from "./database.ts";
import { SupersededError } from "./error.ts";
import { append } from "./event-log.ts";
import type { Schema, SnapshotsTable } from "./schema.ts";
import type { Store } from "./store.ts";

export interface SnapshotRecord {
  readonly id: SnapshotId;
  readonly sessionId: SessionId;
  /** Of the sandbox that it was last compared with. */
  readonly generation: number;
  readonly turnId: TurnId | null;
  /** The blob that lists the files; empty where the provider keeps the snapshot itself. */
  readonly manifest: string;
  /** The provider's own name of it, where it keeps it. */
  readonly native: string | null;
  readonly files: number;
  readonly bytes: number;
  readonly storedBytes: number;
  /** All that was changed until then is in it. What was changed while it was taken may be, too, and nobody may count on it. */
  readonly madeAt: number;
}

export type SnapshotStore = Pick<Store, "database" | "blobs">;

/** The newest snapshot of a session's workspace that is in the store. */
export async function newestSnapshot(database: Database, sessionId: SessionId): Promise<SnapshotRecord | undefined> {
  return await newestOf(database.read, sessionId);
}

export async function findSnapshot(database: Database, id: SnapshotId): Promise<SnapshotRecord | undefined> {
  const row = await database.read.selectFrom("snapshots").selectAll().where("id", "=", id).executeTakeFirst();
  return row && toRecord(row);
}

/** Those that are kept, newest first. */
export async function listSnapshots(database: Database, sessionId: SessionId): Promise<readonly SnapshotRecord[]> {
  return (await rowsOf(database.read, sessionId)).map(toRecord);
}

async function newestOf(from: Kysely<Schema>, sessionId: SessionId): Promise<SnapshotRecord | undefined> {
  const row = (await rowsOf(from, sessionId)).find(({ manifest }) => manifest !== "");
  return row && toRecord(row);
}

async function rowsOf(from: Kysely<Schema>, sessionId: SessionId): Promise<readonly SnapshotsTable[]> {
  return await from
    .selectFrom("snapshots")
    .selectAll()
    .where("session_id", "=", sessionId)
    .orderBy("made_at", "desc")
    .execute();
}

function toRecord(row: SnapshotsTable): SnapshotRecord {
  return {
    id: row.id as SnapshotId,
    sessionId: row.session_id as SessionId,
    generation: row.generation,
    turnId: row.turn_id as TurnId | null,
    manifest: row.manifest,
    native: row.native,
    files: row.files,
    bytes: row.bytes,
    storedBytes: row.stored_bytes,
    madeAt: row.made_at,
  };
}

export interface SnapshotSandbox {
  readonly sandboxId: SandboxId;
  readonly provider: string;
  readonly spec: SandboxSpec;
}

/** The sandbox of that generation, and of that name: an earlier session of the same id had one of the same generation. Throws SupersededError when it is lost or another has taken its place: what it holds is old. */
export async function snapshotSandbox(
  from: Kysely<Schema>,
  sessionId: SessionId,
  { sandboxId, generation }: Pick<NewSnapshot, "sandboxId" | "generation">,
): Promise<SnapshotSandbox> {
  const row = await from
    .selectFrom("sandboxes")
    .select(["id", "generation", "provider", "state", "spec"])
    .where("session_id", "=", sessionId)
    .orderBy("generation", "desc")
    .limit(1)
    .executeTakeFirst();
  const isThat = row?.generation === generation && (sandboxId === undefined || row.id === sandboxId);
  if (!isThat || row.state === "lost") {
    throw new SupersededError(
      `generation ${generation} of the sandbox of session ${sessionId} is not the newest any more`,
    );
  }
  const spec = row.spec === null ? {} : SandboxSpec.parse(JSON.parse(row.spec));
  return { sandboxId: row.id as SandboxId, provider: row.provider, spec };
}

export interface NewSnapshot {
  readonly sessionId: SessionId;
  /** What was looked at: an earlier session of this id may have had one of the same generation. */
  readonly sandboxId?: SandboxId | undefined;
  readonly generation: number;
  readonly turnId: TurnId | undefined;
  /** The snapshot that it was compared with. Nothing else may be the newest when this one is recorded. */
  readonly base: SnapshotRecord | undefined;
  readonly manifest: Blob;
  /** Every other blob that the manifest names: what the base does not name was stored just now. */
  readonly contents: ReadonlyMap<string, number>;
  readonly fresh: ReadonlySet<string>;
  readonly files: number;
  readonly bytes: number;
  /** When the taking began, for the event. */
  readonly startedAt: number;
  /** Files that could not be read, for the event: the first by name, without secrets. */
  readonly unreadable: { readonly count: number; readonly names: readonly string[] };
  /** When the first file was looked at. */
  readonly asOf: number;
}

/** Records a snapshot whose blobs are stored, says so, and lets old ones go. Undefined: it was overtaken, and is to be taken again. */
export async function recordSnapshot(store: SnapshotStore, made: NewSnapshot): Promise<SnapshotRecord | undefined> {
  const written = await store.database.write(async (tx) => {
    const sandbox = await snapshotSandbox(tx, made.sessionId, made);
    if (!(await isAsExpected(store, tx, made))) return undefined;
    const storedBytes = await nameBlobs(tx, made);
    const record: SnapshotRecord = {
      id: newId("snap"),
      sessionId: made.sessionId,
      generation: made.generation,
      turnId: made.turnId ?? null,
      manifest: made.manifest.sha256,
      native: null,
      files: made.files,
      bytes: made.bytes,
      storedBytes,
      // Hosts' clocks differ; the order of a session's snapshots must not.
      madeAt: Math.max(made.asOf, (made.base?.madeAt ?? 0) + 1),
    };
    await insert(tx, record, [...made.contents.keys(), record.manifest]);
    await tx
      .updateTable("sandboxes")
      .set({ unkept: null })
      .where("id", "=", sandbox.sandboxId)
      .where("unkept", "is not", null)
      .execute();
    const { id: snapshotId, turnId, files, bytes } = record;
    const { sandboxId, provider } = sandbox;
    const durationMs = Math.max(0, Date.now() - made.startedAt);
    const place = { sandboxId, provider, generation: made.generation };
    const { count, names } = made.unreadable;
    const sums = {
      files,
      bytes,
      storedBytes,
      durationMs,
      ...(count > 0 && { unreadable: { count, names: [...names] } }),
    };
    await append(tx, made.sessionId, [
      { type: "sandbox.snapshotted", ...place, snapshotId, ...(turnId !== null && { turnId }), ...sums },
    ]);
    return { record, dropped: await dropOld(tx, made.sessionId) };
  });
  if (written) await removeUnusedBlobs(store.database, store.blobs, written.dropped);
  return written?.record;
}

/**
 * Gives a snapshot a manifest of the same content that knows the files as they are in the sandbox now, so that the next look
 * need not read them. It is no new snapshot. False: it was overtaken.
 */
export async function refreshSnapshot(store: SnapshotStore, made: NewSnapshot): Promise<boolean> {
  const base = made.base;
  if (!base) throw new Error("only a snapshot that is there can be refreshed");
  const isDone = await store.database.write(async (tx) => {
    await snapshotSandbox(tx, made.sessionId, made);
    if (!(await isAsExpected(store, tx, made))) return false;
    await nameBlobs(tx, made);
    const values = { manifest: made.manifest.sha256, generation: made.generation };
    await tx.updateTable("snapshots").set(values).where("id", "=", base.id).execute();
    await tx.deleteFrom("snapshot_blobs").where("snapshot_id", "=", base.id).execute();
    await insertBlobs(tx, base.id, [...made.contents.keys(), made.manifest.sha256]);
    return true;
  });
  if (isDone) await removeUnusedBlobs(store.database, store.blobs, [base.manifest]);
  return isDone;
}

async function isAsExpected({ blobs }: SnapshotStore, tx: Tx, made: NewSnapshot): Promise<boolean> {
  const newest = await newestOf(tx, made.sessionId);
  if (newest?.id !== made.base?.id || newest?.manifest !== made.base?.manifest) return false;
  // What the base names cannot have been removed. What was stored just now can: its bytes may have been those of a blob that
  // nobody used any more.
  for (const sha256 of [...made.fresh, made.manifest.sha256]) if (!(await blobs.has(sha256))) return false;
  return true;
}

/** Makes rows of the blobs, and returns the bytes of those contents that had none. */
async function nameBlobs(tx: Tx, { contents, fresh, manifest }: NewSnapshot): Promise<number> {
  const at = Date.now();
  const isNew = async (sha256: string, bytes: number): Promise<boolean> => {
    const made = await tx
      .insertInto("blobs")
      .values({ sha256, bytes, created_at: at })
      .onConflict((conflict) => conflict.column("sha256").doNothing())
      .returning("sha256")
      .executeTakeFirst();
    return made !== undefined;
  };
  await isNew(manifest.sha256, manifest.bytes);
  let storedBytes = 0;
  for (const sha256 of fresh) {
    const bytes = contents.get(sha256);
    if (bytes !== undefined && (await isNew(sha256, bytes))) storedBytes += bytes;
  }
  return storedBytes;
}

async function insert(tx: Tx, record: SnapshotRecord, blobs: readonly string[]): Promise<void> {
  await tx
    .insertInto("snapshots")
    .values({
      id: record.id,
      session_id: record.sessionId,
      generation: record.generation,
      turn_id: record.turnId,
      manifest: record.manifest,
      native: record.native,
      files: record.files,
      bytes: record.bytes,
      stored_bytes: record.storedBytes,
      made_at: record.madeAt,
    })
    .execute();
  await insertBlobs(tx, record.id, blobs);
}

const ROWS_PER_INSERT = 200;

async function insertBlobs(tx: Tx, snapshotId: SnapshotId, blobs: readonly string[]): Promise<void> {
  const rows = [...new Set(blobs)].map((sha256) => ({ snapshot_id: snapshotId, sha256 }));
  for (let start = 0; start < rows.length; start += ROWS_PER_INSERT) {
    await tx
      .insertInto("snapshot_blobs")
      .values(rows.slice(start, start + ROWS_PER_INSERT))
      .execute();
  }
}

/** Removes all snapshots of a session, or that one, and the blobs that nobody else names. */
export async function dropSnapshots(store: SnapshotStore, sessionId: SessionId, only?: SnapshotId): Promise<void> {
  const named = await store.database.write(async (tx) => {
    const rows = await rowsOf(tx, sessionId);
    return await drop(
      tx,
      rows.map(({ id }) => id).filter((id) => only === undefined || id === only),
    );
  });
  await removeUnusedBlobs(store.database, store.blobs, named);
}

/** Removes the rows of all but the newest LIMITS.snapshotsKept, and returns what they named. */
async function dropOld(tx: Tx, sessionId: SessionId): Promise<readonly string[]> {
  return await drop(
    tx,
    (await rowsOf(tx, sessionId)).slice(LIMITS.snapshotsKept).map(({ id }) => id),
  );
}

async function drop(tx: Tx, old: readonly string[]): Promise<readonly string[]> {
  if (old.length === 0) return [];
  await tx.deleteFrom("snapshots").where("id", "in", old).execute();
  const rows = await tx.deleteFrom("snapshot_blobs").where("snapshot_id", "in", old).returning("sha256").execute();
  return [...new Set(rows.map(({ sha256 }) => sha256))];
}
