/** Waits of calls for people and callers: opened with the call's commit, ended once, told to the workflow until it has heard. */
import type { Fact } from "../contract/events.ts";
import type { CallId, SessionId, TurnId } from "../contract/ids.ts";
import type { WaitKey } from "../contract/steps.ts";
import type { ApprovalDecision, WaitKind, WaitVerdict } from "../contract/waits.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import type { WaitsTable } from "./schema.ts";
import { expire, findWait, placeOf, requestOf, verdictOf } from "./wait-endings.ts";

/** A call of a tool that asks first. */
export interface ApprovalRequest {
  readonly kind: "approval";
  /** Why it asks, for who decides. */
  readonly reason: string;
  /** JSON schema of the tool's arguments: what edited ones must fit. */
  readonly schema: Readonly<Record<string, unknown>>;
  readonly argumentKinds: Readonly<Record<string, "command" | "path">>;
  readonly changesWorld: boolean;
  /** Set of a tool that the caller runs: approving it opens its `tool` wait. */
  readonly tool?: { readonly timeoutMs: number; readonly replay: ToolRequest["replay"] };
  /** It is asked whether a call may run once more whose outcome is unknown. */
  readonly again?: true;
}

export interface QuestionRequest {
  readonly kind: "question";
  readonly question: string;
  readonly choices?: readonly string[];
  readonly allowFreeform: boolean;
}

/** A call of a tool that the caller runs. */
export interface ToolRequest {
  readonly kind: "tool";
  readonly replay: "safe" | "keyed" | "ask";
}

export type WaitRequest = ApprovalRequest | QuestionRequest | ToolRequest;

/** What a wait's row keeps as `request`. */
export type KeptRequest = WaitRequest & {
  /** Decisions on earlier approvals of the same call, by key: a late repeat of such a request must not decide this one. */
  readonly earlier?: readonly { readonly key: string; readonly decision: ApprovalDecision }[];
};

export interface NewWait {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
  readonly step: number;
  readonly callId: CallId;
  readonly name: string;
  readonly arguments: unknown;
  readonly argumentsHash: string;
  /** Milliseconds since 1970. */
  readonly deadline: number;
  readonly request: WaitRequest;
}

/**
 * Opens a wait in the caller's transaction, in which the call's own row is there already, and returns its fact. An approval of
 * a call that was approved before (`again`) takes the place of the first one.
 */
export async function openWait(tx: Tx, wait: NewWait): Promise<Fact> {
  const now = Date.now();
  const before = await findWait(tx, { ...wait, kind: wait.request.kind });
  const row: WaitsTable = {
    call_id: wait.callId,
    kind: wait.request.kind,
    session_id: wait.sessionId,
    turn_id: wait.turnId,
    step: wait.step,
    name: wait.name,
    state: "pending",
    requested_at: now,
    deadline: wait.deadline,
    arguments: JSON.stringify(wait.arguments),
    arguments_hash: wait.argumentsHash,
    request: JSON.stringify(keptRequest(wait.request, before)),
    decision: null,
    decided_at: null,
    decided_key: null,
    delivered: 0,
  };
  await tx
    .insertInto("waits")
    .values(row)
    .onConflict((conflict) => conflict.columns(["call_id", "kind"]).doUpdateSet(row))
    .execute();
  await markWaiting(tx, wait, now);
  return requested(wait);
}

function keptRequest(request: WaitRequest, before: WaitsTable | undefined): KeptRequest {
  if (!before) return request;
  const earlier = [...(requestOf(before).earlier ?? [])];
  if (before.decided_key !== null && before.decision !== null) {
    earlier.push({ key: before.decided_key, decision: JSON.parse(before.decision) as ApprovalDecision });
  }
  return { ...request, earlier };
}

async function markWaiting(tx: Tx, wait: NewWait, now: number): Promise<void> {
  await tx
    .updateTable("tool_calls")
    .set((eb) => ({
      state: "waiting",
      // What is asked of a person or a caller has begun with the asking: a stop then says its end.
      ...(wait.request.kind !== "approval" && { started_at: eb.fn.coalesce("started_at", eb.val(now)) }),
    }))
    .where("id", "=", wait.callId)
    .where("session_id", "=", wait.sessionId)
    .where("outcome", "is", null)
    .execute();
  await tx
    .updateTable("sessions")
    .set({ status: "waiting" })
    .where("id", "=", wait.sessionId)
    .where("status", "=", "running")
    .execute();
}

function requested(wait: NewWait): Fact {
  const { turnId, step, callId, name, argumentsHash, deadline, request } = wait;
  const place = { turnId, step, callId };
  switch (request.kind) {
    case "approval": {
      const { reason } = request;
      const asked = { name, arguments: wait.arguments, argumentsHash, reason, deadline };
      return { type: "approval.requested", ...place, ...asked };
    }
    case "question": {
      const { question, choices, allowFreeform } = request;
      return {
        type: "question.asked",
        ...place,
        question,
        ...(choices && { choices: [...choices] }),
        allowFreeform,
        deadline,
      };
    }
    case "tool": {
      const { replay } = request;
      return { type: "tool.requested", ...place, name, arguments: wait.arguments, argumentsHash, replay, deadline };
    }
  }
}

/**
 * Ends a wait whose deadline the workflow has seen pass: an approval is denied, a question stays unanswered, a tool of the
 * caller's has failed (`safe`) or its outcome is unknown. When somebody was faster, that stands. A repeat changes nothing.
 */
export async function expireWait(database: Database, key: WaitKey): Promise<WaitVerdict> {
  return await database.write(async (tx) => {
    const wait = await findWait(tx, key);
    if (wait?.state === "pending") {
      await append(tx, key.sessionId, await expire(tx, wait));
      // The workflow learns it from this answer, and nobody has to tell it.
      await setDelivered(tx, key);
    }
    const now = wait && (await findWait(tx, key));
    return now ? verdictOf(now) : { next: "over" }; // Purged meanwhile: there is nothing left to wait for.
  });
}

/** Ends what a turn still waits for, at the turn's end, and returns the facts. Results of the calls are `openCalls`'s business. */
export async function cancelWaits(tx: Tx, sessionId: SessionId, turnId: TurnId): Promise<Fact[]> {
  const at = Date.now();
  const cancelled = await tx
    .updateTable("waits")
    .set({ state: "cancelled", decided_at: at })
    .where("session_id", "=", sessionId)
    .where("turn_id", "=", turnId)
    .where("state", "=", "pending")
    .returningAll()
    .execute();
  const facts: Fact[] = [];
  // SQL promises no order of the rows an update returns.
  for (const wait of cancelled.toSorted((a, b) => a.requested_at - b.requested_at || compare(a.call_id, b.call_id))) {
    const stopped = stoppedDecision(wait, at);
    facts.push(...stopped.facts);
    await tx
      .updateTable("waits")
      .set({ decision: JSON.stringify(stopped.decision) })
      .where("call_id", "=", wait.call_id)
      .where("kind", "=", wait.kind)
      .execute();
  }
  return facts;
}

function stoppedDecision(wait: WaitsTable, at: number): { readonly decision: object; readonly facts: readonly Fact[] } {
  const by = "stop" as const;
  const place = placeOf(wait);
  switch (requestOf(wait).kind) {
    case "approval": {
      const denied = { decision: "deny" as const, by, scope: "once" as const };
      const fact: Fact = { type: "approval.decided", ...place, ...denied, argumentsHash: wait.arguments_hash };
      return { decision: { ...denied, at }, facts: [fact] };
    }
    case "question":
      return {
        decision: { answer: null, by, at },
        facts: [{ type: "question.answered", ...place, answer: null, by }],
      };
    case "tool":
      return { decision: { outcome: "interrupted", by, at }, facts: [] };
  }
}

/** A wait that has ended and of which the workflow is not known to have heard. */
export interface UndeliveredWait extends WaitKey {
  readonly turnId: TurnId;
  readonly deadline: number;
  readonly verdict: WaitVerdict;
}

/** In the order of the decisions; of one call, or of all sessions. */
export async function undeliveredWaits(
  database: Database,
  which: { readonly callId?: CallId; readonly limit: number },
): Promise<readonly UndeliveredWait[]> {
  let query = database.read
    .selectFrom("waits")
    .selectAll()
    .where("state", "=", "decided")
    .where("delivered", "=", 0)
    .orderBy("decided_at");
  if (which.callId !== undefined) query = query.where("call_id", "=", which.callId);
  const rows = await query.limit(which.limit).execute();
  return rows.map((row) => ({
    sessionId: row.session_id,
    turnId: row.turn_id as TurnId,
    callId: row.call_id as CallId,
    kind: row.kind as WaitKind,
    deadline: row.deadline,
    verdict: verdictOf(row),
  }));
}

/** Calls of any session with decisions that their workflow is not known to have heard of, in the order of their ids. */
export async function undeliveredCalls(
  database: Database,
  which: { readonly after: string; readonly limit: number },
): Promise<readonly CallId[]> {
  const rows = await database.read
    .selectFrom("waits")
    .select("call_id")
    .distinct()
    .where("state", "=", "decided")
    .where("delivered", "=", 0)
    .where("call_id", ">", which.after)
    .orderBy("call_id")
    .limit(which.limit)
    .execute();
  return rows.map((row) => row.call_id as CallId);
}

/** Notes that the workflow has heard of this decision, or is gone. */
export async function markDelivered(database: Database, wait: UndeliveredWait): Promise<void> {
  await database.write((tx) => setDelivered(tx, wait, wait.deadline));
}

async function setDelivered(tx: Tx, key: WaitKey, deadline?: number): Promise<void> {
  let update = tx
    .updateTable("waits")
    .set({ delivered: 1 })
    .where("call_id", "=", key.callId)
    .where("kind", "=", key.kind)
    .where("session_id", "=", key.sessionId)
    .where("state", "=", "decided");
  // An approval that was opened again meanwhile has not been heard of.
  if (deadline !== undefined) update = update.where("deadline", "=", deadline);
  await update.execute();
}

function compare(a: string, b: string): number {
  return a < b ? -1 : 1;
}
