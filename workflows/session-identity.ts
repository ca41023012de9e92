/** Which session a workflow carries, of all that have the same id one after another or in several stacks at one Temporal. */
import { ApplicationFailure } from "@temporalio/workflow";
import type { ForIncarnation } from "../contract/session.ts";
import type { SessionInput, WorkspaceKey } from "./messages.ts";
import type { SessionState } from "./session-state.ts";

/** Whether a message is for this session, and not for another that has the same id: a later one, or one of another stack. */
export function isMeant({ incarnation }: SessionInput, of: ForIncarnation | undefined): boolean {
  return of?.incarnation === undefined || incarnation === undefined || of.incarnation === incarnation;
}

/** Of updates: who asks learns that the one it means is elsewhere. */
export function refuseStranger(input: SessionInput, of: ForIncarnation | undefined): void {
  if (isMeant(input, of)) return;
  throw ApplicationFailure.nonRetryable("this workflow carries another session of the same id", "Stranger");
}

/** What its activities take: which session, and the proof that this stack has asked. */
export function keyOf({ sessionId, ticket }: SessionInput): WorkspaceKey {
  return { sessionId, ...(ticket !== undefined && { ticket }) };
}

export function refuseIf(reason: string | undefined): void {
  if (reason) throw ApplicationFailure.nonRetryable(reason, "Refused");
}

/** Whether a session that closes does so because somebody has asked for it, so that a row says so, too: not by `temporal workflow cancel`. */
export function isOnRequest({ recovers }: SessionInput, { cancelled }: Pick<SessionState, "cancelled">): boolean {
  return recovers === true && !cancelled;
}

export function closingKey(
  input: SessionInput,
  state: Pick<SessionState, "cancelled">,
): WorkspaceKey & { readonly onRequest?: true } {
  return { ...keyOf(input), ...(isOnRequest(input, state) && { onRequest: true }) };
}
