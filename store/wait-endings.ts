/** How a wait ends, whoever ends it: its decision, the state and the result of its call, and the facts that say so. */
import type { ToolOutcome } from "../contract/blocks.ts";
import type { Fact } from "../contract/events.ts";
import type { CallId, TurnId } from "../contract/ids.ts";
import type { WaitKey } from "../contract/steps.ts";
import type { ApprovalDecision, QuestionAnswer, ToolResultGiven, WaitVerdict } from "../contract/waits.ts";
import { completed, placeResult } from "./calls.ts";
import type { Tx } from "./database.ts";
import { SupersededError } from "./error.ts";
import type { WaitsTable } from "./schema.ts";
import type { ApprovalRequest, KeptRequest } from "./waits.ts";

export type Decision = ApprovalDecision | QuestionAnswer | ToolResultGiven;

export interface CallResultText {
  readonly outcome: ToolOutcome;
  readonly text: string;
}

export async function findWait(tx: Tx, key: WaitKey): Promise<WaitsTable | undefined> {
  return await tx
    .selectFrom("waits")
    .selectAll()
    .where("call_id", "=", key.callId)
    .where("kind", "=", key.kind)
    .where("session_id", "=", key.sessionId)
    .executeTakeFirst();
}

/** A row of ours, written from a typed value. */
export function requestOf(wait: WaitsTable): KeptRequest {
  return JSON.parse(wait.request) as KeptRequest;
}

export function placeOf(wait: WaitsTable): { turnId: TurnId; step: number; callId: CallId } {
  return { turnId: wait.turn_id as TurnId, step: wait.step, callId: wait.call_id as CallId };
}

/** Notes the decision. The first one stands: the row waits no more. */
export async function markDecided(
  tx: Tx,
  wait: WaitsTable,
  decided: { readonly decision: Decision; readonly key?: string | undefined },
): Promise<void> {
  const mine = await tx
    .updateTable("waits")
    .set({
      state: "decided",
      decision: JSON.stringify(decided.decision),
      decided_at: decided.decision.at,
      decided_key: decided.key ?? null,
    })
    .where("call_id", "=", wait.call_id)
    .where("kind", "=", wait.kind)
    .where("state", "=", "pending")
    .returning("call_id")
    .executeTakeFirst();
  if (!mine) throw new SupersededError(`the ${wait.kind} of call ${wait.call_id} is decided already`);
}

/** Gives the call its result without a run, and returns the fact. */
export async function answerCall(tx: Tx, wait: WaitsTable, result: CallResultText): Promise<Fact> {
  const call = await tx
    .updateTable("tool_calls")
    .set((eb) => ({ epoch: eb("epoch", "+", 1), outcome: result.outcome, state: "done" }))
    .where("id", "=", wait.call_id)
    .where("session_id", "=", wait.session_id)
    .where("outcome", "is", null)
    .returningAll()
    .executeTakeFirst();
  if (!call) throw new Error(`call ${wait.call_id} waits for ${wait.kind}, and has its result already`);
  await placeResult(tx, call, result);
  // Its time counts from the asking: what was before it is no part of this answer.
  return completed({ ...call, started_at: wait.requested_at }, result);
}

/** The session runs on when nothing of it waits any more. */
export async function resumeSession(tx: Tx, wait: WaitsTable): Promise<void> {
  const pending = await tx
    .selectFrom("waits")
    .select("call_id")
    .where("session_id", "=", wait.session_id)
    .where("state", "=", "pending")
    .limit(1)
    .executeTakeFirst();
  if (pending) return;
  await tx
    .updateTable("sessions")
    .set({ status: "running" })
    .where("id", "=", wait.session_id)
    .where("status", "=", "waiting")
    .execute();
}

/** Decides a wait as its deadline does, and returns the facts. */
export async function expire(tx: Tx, wait: WaitsTable): Promise<Fact[]> {
  const at = Date.now();
  const by = "deadline" as const;
  const request = requestOf(wait);
  switch (request.kind) {
    case "approval": {
      const decision: ApprovalDecision = { decision: "deny", by, at, scope: "once" };
      return await denyCall(tx, wait, { decision });
    }
    case "question": {
      const fact: Fact = { type: "question.answered", ...placeOf(wait), answer: null, by };
      const result: CallResultText = { outcome: "error", text: UNANSWERED };
      return [fact, ...(await endByResult(tx, wait, { decision: { answer: null, by, at }, result }))];
    }
    case "tool": {
      const result = noResult(request.replay);
      return await endByResult(tx, wait, { decision: { outcome: result.outcome, by, at }, result });
    }
  }
}

/** Denies an approval's call, and returns the facts. */
export async function denyCall(
  tx: Tx,
  wait: WaitsTable,
  denied: { readonly decision: ApprovalDecision; readonly key?: string | undefined },
): Promise<Fact[]> {
  const { decision } = denied;
  const result = denial(decision, requestOf(wait) as ApprovalRequest);
  const decided = decidedFact(wait, decision, wait.arguments_hash);
  return [decided, ...(await endByResult(tx, wait, { ...denied, result }))];
}

/** Ends a wait whose call ends with it. */
export async function endByResult<T extends ToolOutcome>(
  tx: Tx,
  wait: WaitsTable,
  ending: {
    readonly decision: Decision;
    readonly key?: string | undefined;
    readonly result: { readonly outcome: T; readonly text: string };
  },
): Promise<Fact[]> {
  await markDecided(tx, wait, ending);
  const completed = await answerCall(tx, wait, ending.result);
  await resumeSession(tx, wait);
  return [completed];
}

export function decidedFact(wait: WaitsTable, decision: ApprovalDecision, argumentsHash: string): Fact {
  const { at: _at, ...said } = decision;
  return { type: "approval.decided", ...placeOf(wait), ...said, argumentsHash };
}

const UNANSWERED =
  "Nobody answered this question in time. Go on with the most careful assumption, and say in your answer what you assumed.";

function denial({ by, reason }: ApprovalDecision, request: ApprovalRequest): CallResultText {
  const why = reason === undefined ? "." : `: ${sentence(reason)}`;
  if (request.again) {
    const who = by === "deadline" ? "nobody allowed it in time" : `a person did not allow it${why}`;
    return {
      outcome: "unknown",
      text: `This call was begun and its outcome was lost. It was not run again: ${sentence(who)} What it did is unknown: look before you go on.`,
    };
  }
  const text =
    by === "deadline"
      ? "Nobody approved this call in time, so it was denied. It was not run. Go on without it, or say in your answer what needs approval."
      : `A person denied this call${why} It was not run. Do not make the same call again: go on in another way, or ask what is wanted instead.`;
  return { outcome: "denied", text };
}

function noResult(replay: "safe" | "keyed" | "ask"): { readonly outcome: "error" | "unknown"; readonly text: string } {
  return replay === "safe"
    ? { outcome: "error", text: "This tool gave no result in time. It may be called again." }
    : { outcome: "unknown", text: "This tool gave no result in time. Whether it ran, and what it did, is unknown." };
}

function sentence(text: string): string {
  return /[.!?]$/.test(text.trimEnd()) ? text.trimEnd() : `${text.trimEnd()}.`;
}

/** What becomes of the call of a wait that has ended. */
export function verdictOf(wait: WaitsTable): WaitVerdict {
  if (wait.kind !== "approval" || wait.state !== "decided" || !wait.decision) return { next: "over" };
  const decision = JSON.parse(wait.decision) as ApprovalDecision;
  if (decision.decision === "deny") return { next: "over" };
  const { tool } = requestOf(wait) as ApprovalRequest;
  return tool ? { next: "wait", kind: "tool", deadline: decision.at + tool.timeoutMs } : { next: "run" };
}
