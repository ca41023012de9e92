/** Approvals as who decides sees them: over all sessions, or one of them. */
import type { AgentRef } from "../contract/agents.ts";
import type { CallId, SessionId, TurnId } from "../contract/ids.ts";
import type { Approval, ApprovalDecision, WaitState } from "../contract/waits.ts";
import type { Database } from "./database.ts";
import { firstPage, type Page } from "./page-size.ts";
import type { ApprovalRequest } from "./waits.ts";

export interface ApprovalFilter {
  readonly state?: WaitState | undefined;
  readonly sessionId?: SessionId | undefined;
  /** The name of the session's agent, or the id of the stored one. */
  readonly agent?: string | undefined;
  /** Start after this one, in the list's order. */
  readonly after?: { readonly at: number; readonly id: string } | undefined;
  readonly limit: number;
}

/** Of what is pending the oldest comes first, because it has waited longest; of all else the newest. */
export async function listApprovals(database: Database, filter: ApprovalFilter): Promise<Page<Approval>> {
  const { state, sessionId, agent, after } = filter;
  const [order, isBehind] = state === "pending" ? (["asc", ">"] as const) : (["desc", "<"] as const);
  let query = withSession(database).where("waits.kind", "=", "approval");
  if (state !== undefined) query = query.where("waits.state", "=", state);
  if (sessionId !== undefined) query = query.where("waits.session_id", "=", sessionId);
  if (agent !== undefined) {
    query = query.where((eb) => eb.or([eb("sessions.agent_name", "=", agent), eb("sessions.agent_id", "=", agent)]));
  }
  if (after) {
    query = query.where((eb) =>
      eb.or([
        eb("waits.requested_at", isBehind, after.at),
        eb.and([eb("waits.requested_at", "=", after.at), eb("waits.call_id", isBehind, after.id)]),
      ]),
    );
  }
  const ordered = query.orderBy("waits.requested_at", order).orderBy("waits.call_id", order);
  const { rows, hasMore } = await firstPage(ordered, { large: "waits.arguments", limit: filter.limit });
  return { rows: rows.map(toApproval), hasMore };
}

/** An approval with what a decision on it is checked with. */
export interface AskedApproval {
  readonly approval: Approval;
  readonly request: ApprovalRequest;
}

export async function findApproval(
  database: Database,
  key: { readonly sessionId: SessionId; readonly callId: CallId },
): Promise<AskedApproval | undefined> {
  const row = await withSession(database)
    .where("waits.kind", "=", "approval")
    .where("waits.call_id", "=", key.callId)
    .where("waits.session_id", "=", key.sessionId)
    .executeTakeFirst();
  return row && { approval: toApproval(row), request: JSON.parse(row.request) as ApprovalRequest };
}

/** Approvals that wait for somebody. */
export async function countPendingApprovals(database: Database): Promise<number> {
  const counted = await database.read
    .selectFrom("waits")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("state", "=", "pending")
    .where("kind", "=", "approval")
    .executeTakeFirst();
  return Number(counted?.count ?? 0);
}

function withSession(database: Database) {
  return database.read
    .selectFrom("waits")
    .innerJoin("sessions", "sessions.id", "waits.session_id")
    .selectAll("waits")
    .select(["sessions.agent_name", "sessions.agent_id", "sessions.agent_version", "sessions.title"]);
}

type Row = Awaited<ReturnType<ReturnType<typeof withSession>["executeTakeFirstOrThrow"]>>;

/** A row of ours, written from typed values. */
function toApproval(row: Row): Approval {
  return {
    sessionId: row.session_id,
    turnId: row.turn_id as TurnId,
    callId: row.call_id as CallId,
    name: row.name,
    arguments: JSON.parse(row.arguments) as unknown,
    argumentsHash: row.arguments_hash,
    state: row.state as WaitState,
    requestedAt: row.requested_at,
    deadline: row.deadline,
    reason: (JSON.parse(row.request) as ApprovalRequest).reason,
    agent: row.agent_name,
    agentRef: refOf(row),
    sessionTitle: row.title,
    decision: row.decision === null ? null : (JSON.parse(row.decision) as ApprovalDecision),
  };
}

function refOf({ agent_id: id, agent_version: version }: Row): AgentRef | null {
  return id === null || version === null ? null : { id, version };
}
