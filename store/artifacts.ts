/** Artifact rows: one per path and digest, and what the last scan saw of each file. */
import type { Kysely } from "kysely";
import type { Artifact } from "../contract/http.ts";
import { type ArtifactId, newId, type SessionId, type TurnId } from "../contract/ids.ts";
import type { BlobStore } from "./blobs.ts";
import type { Database, Tx } from "./database.ts";
import { SupersededError } from "./error.ts";
import { append } from "./event-log.ts";
import type { Schema } from "./schema.ts";

export interface ScannedFile {
  readonly path: string;
  readonly bytes: number;
  readonly modifiedAt: number;
}

/** What was last uploaded of each path. */
export async function knownFiles(database: Database, sessionId: SessionId): Promise<ReadonlyMap<string, ScannedFile>> {
  const rows = await database.read
    .selectFrom("artifact_files")
    .select(["path", "bytes", "modified_at"])
    .where("session_id", "=", sessionId)
    .execute();
  return new Map(rows.map((row) => [row.path, { path: row.path, bytes: row.bytes, modifiedAt: row.modified_at }]));
}

/** Whether the file is as the last upload saw it. */
export function isKnown(known: ReadonlyMap<string, ScannedFile>, file: ScannedFile): boolean {
  const before = known.get(file.path);
  return before !== undefined && before.bytes === file.bytes && before.modifiedAt === file.modifiedAt;
}

/** Commits an upload whose blob is stored. Says `artifact.uploaded` unless this path had these bytes before. */
export async function recordArtifact(
  database: Database,
  ids: { readonly sessionId: SessionId; readonly turnId: TurnId },
  upload: {
    readonly scanned: ScannedFile;
    readonly sha256: string;
    readonly bytes: number;
    readonly contentType: string;
  },
): Promise<boolean> {
  const { scanned, sha256, bytes, contentType } = upload;
  const { sessionId, turnId } = ids;
  return await database.write(async (tx) => {
    // Whoever is late may have found the turn of a session that was deleted meanwhile; its id may be another's by now.
    if (!(await isTurnOf(tx, sessionId, turnId))) throw new SupersededError(`turn ${turnId} of ${sessionId} is gone`);
    await tx
      .insertInto("blobs")
      .values({ sha256, bytes, created_at: Date.now() })
      .onConflict((conflict) => conflict.column("sha256").doNothing())
      .execute();
    const file = { bytes: scanned.bytes, modified_at: scanned.modifiedAt, sha256 };
    await tx
      .insertInto("artifact_files")
      .values({ session_id: sessionId, path: scanned.path, ...file })
      .onConflict((conflict) => conflict.columns(["session_id", "path"]).doUpdateSet(file))
      .execute();
    const artifactId = newId("art");
    const made = await tx
      .insertInto("artifacts")
      .values({
        id: artifactId,
        session_id: sessionId,
        turn_id: turnId,
        path: scanned.path,
        sha256,
        bytes,
        content_type: contentType,
        uploaded_at: Date.now(),
      })
      .onConflict((conflict) => conflict.columns(["session_id", "path", "sha256"]).doNothing())
      .returning("id")
      .executeTakeFirst();
    if (!made) return false;
    await append(tx, sessionId, [
      { type: "artifact.uploaded", turnId, artifactId, path: scanned.path, bytes, sha256, contentType },
    ]);
    return true;
  });
}

async function isTurnOf(tx: Tx, sessionId: SessionId, turnId: TurnId): Promise<boolean> {
  const turn = tx.selectFrom("turns").select("id").where("id", "=", turnId).where("session_id", "=", sessionId);
  return (await turn.executeTakeFirst()) !== undefined;
}

/** A session's artifacts, oldest first. */
export async function listArtifacts(database: Database, sessionId: SessionId): Promise<readonly Artifact[]> {
  const rows = await database.read
    .selectFrom("artifacts")
    .selectAll()
    .where("session_id", "=", sessionId)
    .orderBy("uploaded_at")
    .orderBy("id")
    .execute();
  return rows.map((row) => ({
    id: row.id as ArtifactId,
    turnId: row.turn_id as TurnId,
    path: row.path,
    bytes: row.bytes,
    sha256: row.sha256,
    contentType: row.content_type,
    uploadedAt: row.uploaded_at,
  }));
}

/**
 * Removes the blobs that no artifact and no snapshot names; of `among` only, when it is given. Each file goes in the transaction
 * that finds it unused: an upload of the same bytes commits before, and keeps it, or after, and then finds it missing. Safe to
 * repeat; a crash leaves the rest to the next call.
 */
export async function removeUnusedBlobs(
  database: Database,
  blobs: BlobStore,
  among?: readonly string[],
): Promise<void> {
  for (const sha256 of await unusedBlobs(database.read, among)) {
    await database.write(async (tx) => {
      if ((await unusedBlobs(tx, [sha256])).length === 0) return;
      await tx.deleteFrom("blobs").where("sha256", "=", sha256).execute();
      await blobs.remove(sha256);
    });
  }
}

/** Removes those of these blobs that were stored and never got a row: whoever is about to make one finds the file missing, and stores it again. */
export async function removeStrayBlobs(database: Database, blobs: BlobStore, among: readonly string[]): Promise<void> {
  for (const sha256 of among) {
    const row = (from: Kysely<Schema>) =>
      from.selectFrom("blobs").select("sha256").where("sha256", "=", sha256).executeTakeFirst();
    if (await row(database.read)) continue;
    await database.write(async (tx) => {
      if (!(await row(tx))) await blobs.remove(sha256);
    });
  }
}

const NAMES_PER_QUERY = 500;

async function unusedBlobs(from: Kysely<Schema>, among: readonly string[] | undefined): Promise<readonly string[]> {
  if (among?.length === 0) return [];
  if (among !== undefined && among.length > NAMES_PER_QUERY) {
    const [first, rest] = [among.slice(0, NAMES_PER_QUERY), among.slice(NAMES_PER_QUERY)];
    return [...(await unusedBlobs(from, first)), ...(await unusedBlobs(from, rest))];
  }
  let query = from
    .selectFrom("blobs")
    .select("blobs.sha256")
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom("artifacts").select("id").whereRef("artifacts.sha256", "=", "blobs.sha256"))),
    )
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom("snapshot_blobs").select("sha256").whereRef("snapshot_blobs.sha256", "=", "blobs.sha256"))),
    );
  if (among !== undefined) query = query.where("blobs.sha256", "in", [...among]);
  return (await query.execute()).map(({ sha256 }) => sha256);
}
