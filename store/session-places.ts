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

const NAMES_PER_QUERY = 500;

/** Those of these workflows that carry a session that is open. */
export async function openWorkflows(database: Database, workflowIds: readonly string[]): Promise<ReadonlySet<string>> {
  const open = new Set<string>();
  for (let start = 0; start < workflowIds.length; start += NAMES_PER_QUERY) {
    const rows = await database.read
      .selectFrom("sessions")
      .select("workflow_id")
      .where("closed_at", "is", null)
      .where("workflow_id", "in", workflowIds.slice(start, start + NAMES_PER_QUERY))
      .execute();
    for (const { workflow_id } of rows) if (workflow_id !== null) open.add(workflow_id);
  }
  return open;
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
