/** What is kept of sessions that are closed: no workspace, and all else as long as the operator says. For the sweeper, in bounded rounds. */
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Database } from "./database.ts";
import { purgeSession } from "./sessions.ts";
import { dropSnapshots, type SnapshotStore } from "./snapshots.ts";

/**
 * Removes the snapshots of closed sessions: nothing is restored from them. The close does so itself, but for one whose workflow
 * was terminated, and for a snapshot that was taken while it closed. Returns of how many sessions.
 */
export async function dropClosedSnapshots(store: SnapshotStore): Promise<number> {
  const closed = await store.database.read
    .selectFrom("snapshots")
    .innerJoin("sessions", "sessions.id", "snapshots.session_id")
    .select("snapshots.session_id as id")
    .where("sessions.closed_at", "is not", null)
    .distinct()
    .limit(LIMITS.closedPerSweep)
    .execute();
  for (const { id } of closed) await dropSnapshots(store, id as SessionId);
  return closed.length;
}

/**
 * Deletes what is kept of the sessions that were closed so long ago, the oldest first; their blobs go with the sweep of blobs.
 * One whose sandbox is still there is left until that is removed. Returns their ids.
 */
export async function purgeClosed(database: Database, keptMs: number): Promise<readonly SessionId[]> {
  const old = await database.read
    .selectFrom("sessions")
    .select("id")
    .where("closed_at", "is not", null)
    .where("closed_at", "<", Date.now() - keptMs)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom("sandboxes")
            .select("sandboxes.id")
            .whereRef("sandboxes.session_id", "=", "sessions.id")
            .where("sandboxes.state", "in", ["starting", "ready"]),
        ),
      ),
    )
    .orderBy("closed_at")
    .limit(LIMITS.closedPerSweep)
    .execute();
  const ids = old.map(({ id }) => id as SessionId);
  for (const id of ids) await purgeSession(database, id);
  return ids;
}
