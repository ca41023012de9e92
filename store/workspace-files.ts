/** The files of a session's workspace as they were last seen, so that each change is told once, whoever sees it. */
import { randomUUID } from "node:crypto";
import type { Fact } from "../contract/events.ts";
import type { SessionId } from "../contract/ids.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";

export interface SeenFile {
  readonly bytes: number;
  readonly version: string;
}

export interface SeenWorkspace {
  /** Another one after each write of the rows; empty when nobody has looked yet. */
  readonly token: string;
  /** There were too many files to be watched: the rows say nothing. */
  readonly isUnwatched: boolean;
  readonly files: ReadonlyMap<string, SeenFile>;
}

/** The row of this path is no file: its version is the token, and it has 1 byte when the workspace is not watched. */
const TOKEN_PATH = "";

export async function seenWorkspace(database: Database, sessionId: SessionId): Promise<SeenWorkspace> {
  const rows = await database.read
    .selectFrom("workspace_files")
    .select(["path", "bytes", "version"])
    .where("session_id", "=", sessionId)
    .execute();
  const token = rows.find(({ path }) => path === TOKEN_PATH);
  const files = new Map(
    rows.filter(({ path }) => path !== TOKEN_PATH).map(({ path, bytes, version }) => [path, { bytes, version }]),
  );
  return { token: token?.version ?? "", isUnwatched: token?.bytes === 1, files };
}

export interface SeenChanges {
  /** Of the rows that the changes were found with. Undefined: whatever the rows are, these take their place. */
  readonly since: string | undefined;
  readonly isUnwatched: boolean;
  readonly written: ReadonlyMap<string, SeenFile>;
  readonly deleted: readonly string[];
  readonly facts: readonly Fact[];
}

/** Writes what has changed and tells it, all or nothing; gives the new token. Undefined: somebody else has written since, and nothing was done. */
export async function recordChanges(
  database: Database,
  sessionId: SessionId,
  changes: SeenChanges,
): Promise<string | undefined> {
  const token = randomUUID();
  return await database.write(async (tx) => {
    const row = await tx
      .selectFrom("workspace_files")
      .select("version")
      .where("session_id", "=", sessionId)
      .where("path", "=", TOKEN_PATH)
      .executeTakeFirst();
    if (changes.since === undefined) {
      await tx.deleteFrom("workspace_files").where("session_id", "=", sessionId).execute();
    } else if ((row?.version ?? "") !== changes.since) {
      return undefined;
    }
    if (changes.facts.length > 0) await append(tx, sessionId, changes.facts);
    await deleteFiles(tx, sessionId, changes.deleted);
    const seen = { bytes: changes.isUnwatched ? 1 : 0, version: token };
    await writeFiles(tx, sessionId, [[TOKEN_PATH, seen], ...changes.written]);
    return token;
  });
}

const ROWS_PER_STATEMENT = 100;

async function writeFiles(
  tx: Tx,
  sessionId: SessionId,
  files: readonly (readonly [path: string, file: SeenFile])[],
): Promise<void> {
  for (let start = 0; start < files.length; start += ROWS_PER_STATEMENT) {
    const rows = files
      .slice(start, start + ROWS_PER_STATEMENT)
      .map(([path, { bytes, version }]) => ({ session_id: sessionId, path, bytes, version }));
    await tx
      .insertInto("workspace_files")
      .values(rows)
      .onConflict((conflict) =>
        conflict.columns(["session_id", "path"]).doUpdateSet((eb) => ({
          bytes: eb.ref("excluded.bytes"),
          version: eb.ref("excluded.version"),
        })),
      )
      .execute();
  }
}

async function deleteFiles(tx: Tx, sessionId: SessionId, paths: readonly string[]): Promise<void> {
  for (let start = 0; start < paths.length; start += ROWS_PER_STATEMENT) {
    await tx
      .deleteFrom("workspace_files")
      .where("session_id", "=", sessionId)
      .where("path", "in", paths.slice(start, start + ROWS_PER_STATEMENT))
      .execute();
  }
}
