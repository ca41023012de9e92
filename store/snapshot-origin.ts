/** Which snapshot a sandbox was restored from, as clients are told. */
import type { Kysely } from "kysely";
import type { SnapshotId, TurnId } from "../contract/ids.ts";
import type { Schema } from "./schema.ts";

export interface SnapshotOrigin {
  readonly snapshotId: SnapshotId;
  readonly turnId: TurnId | null;
  readonly at: number;
}

export async function restoredFrom(from: Kysely<Schema>, snapshotId: string | null): Promise<SnapshotOrigin | null> {
  if (snapshotId === null) return null;
  const row = await from.selectFrom("snapshots").selectAll().where("id", "=", snapshotId).executeTakeFirst();
  return row ? { snapshotId: row.id as SnapshotId, turnId: row.turn_id as TurnId | null, at: row.made_at } : null;
}
