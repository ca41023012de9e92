/** How a turn ended, as its end is committed. Pure. */

import type { SessionId } from "../contract/ids.ts";
import type { Failure, SessionAgent, TurnEnding } from "../contract/steps.ts";
import type { TurnState } from "./session-state.ts";
import type { TurnEnd } from "./turn.ts";

/** `end`: undefined when the turn was stopped, for the reason in its state. */
export function turnEnding(of: {
  readonly sessionId: SessionId;
  readonly turn: TurnState;
  readonly end: TurnEnd | undefined;
  readonly limits: SessionAgent["limits"];
  /** Whether a session that closes does so because somebody has asked for it, and the rows know that. */
  readonly onRequest: boolean;
}): TurnEnding {
  const { sessionId, turn, end, limits, onRequest } = of;
  const late = [...(turn.joining ?? []), ...(turn.steering ?? [])].map(({ messageId }) => messageId);
  const ids = {
    sessionId,
    turnId: turn.turnId,
    messageId: turn.messageId,
    ...(late.length > 0 && { requeued: late }),
  };
  if (end?.ended === "completed") return { ...ids, outcome: "completed", step: turn.step };
  if (end?.ended === "failed") return { ...ids, outcome: "failed", failure: end.failure };
  if (turn.stop === "timed_out") {
    const message = `the turn took longer than ${limits.turnTimeoutMs} ms, the agent's limit turnTimeoutMs`;
    return { ...ids, outcome: "failed", failure: { code: "TIMEOUT", message, retryable: true } };
  }
  const reason = turn.stop ?? "interrupted";
  return { ...ids, outcome: "interrupted", reason, ...(reason === "closed" && onRequest && { onRequest: true }) };
}

/** An activity that failed for good without saying why in its result: ours to mend, but the session goes on. */
export function unexpected(error: unknown): Failure {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
  return { code: "PROVIDER_ERROR", message: cause.slice(0, 500), retryable: true };
}
