/** Which workflow carries a session, and which of several sessions that had the same id one after another it is. */
import type { SessionId } from "../contract/ids.ts";
import type { Database } from "./database.ts";

export interface SessionPlace {
  readonly sessionId: SessionId;
  /** Empty in sessions of versions before 0.4. */
  readonly incarnation: string;
  /** Undefined while none is known to be started. */
  readonly workflowId: string | undefined;
}

export async function findPlace(database: Database, sessionId: SessionId): Promise<SessionPlace | undefined> {
  const row = await database.read
    .selectFrom("sessions")
    .select(["incarnation", "workflow_id"])
    .where("id", "=", sessionId)
    .executeTakeFirst();
  return row && { sessionId, incarnation: row.incarnation, workflowId: row.workflow_id ?? undefined };
}

/** Notes the workflow that was started. One that is deleted meanwhile changes nothing. */
export async function notePlace(database: Database, place: SessionPlace, workflowId: string): Promise<void> {
  if (place.workflowId === workflowId) return;
  await database.write((tx) =>
    tx
      .updateTable("sessions")
      .set({ workflow_id: workflowId })
      .where("id", "=", place.sessionId)
      .where("incarnation", "=", place.incarnation)
      .execute(),
  );
}
