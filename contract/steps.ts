/** What activities take and answer: ids, counters and small enums. It is all that Temporal's history ever holds. */
import type { ToolOutcome } from "./blocks.ts";
import type { TurnCode } from "./errors.ts";
import type { CallId, MessageId, SessionId, TurnId } from "./ids.ts";
import type { TurnOutcome } from "./session.ts";
import type { Usage } from "./usage.ts";

export interface StepKey {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
  /** Counts from 1 in each turn. */
  readonly step: number;
}

export interface StepRequest extends StepKey {
  readonly messageId: MessageId;
}

export interface Failure {
  readonly code: TurnCode;
  readonly message: string;
  readonly retryable: boolean;
}

/** A call that can be run. Calls that could not be run at all are already answered in the transcript. */
export interface PlannedCall {
  readonly callId: CallId;
  readonly name: string;
  /** Done in milliseconds: run by the step's own activity, each under its own key, and never seen by the workflow. */
  readonly quick: boolean;
  /** For Temporal's UI. */
  readonly summary: string;
}

/** What a step brought about, as it is committed. */
export type StepResult =
  /** The agent wants these calls, or (none) another step: what it was told is in the transcript. */
  | { readonly next: "calls"; readonly calls: readonly PlannedCall[]; readonly usage: Usage }
  | { readonly next: "done"; readonly usage: Usage }
  | { readonly next: "failed"; readonly failure: Failure; readonly usage: Usage };

/** What the step's activity answers: quick calls are done by then. */
export type StepAnswer =
  | {
      readonly next: "calls";
      readonly calls: readonly Omit<PlannedCall, "quick">[];
      readonly usage: Usage;
      /** A tool has run, so that there is a sandbox which may hold artifacts. */
      readonly ranTools: boolean;
      /** Something in the agent's artifact folders is new or changed. */
      readonly artifacts: boolean;
    }
  | Exclude<StepResult, { readonly next: "calls" }>;

export interface CallKey {
  readonly sessionId: SessionId;
  readonly callId: CallId;
}

export interface CallResult {
  readonly outcome: ToolOutcome;
  /** Something in the agent's artifact folders is new or changed. */
  readonly artifacts: boolean;
}

export interface TurnKey {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
}

export interface TurnEnding extends TurnKey {
  readonly messageId: MessageId;
  readonly outcome: TurnOutcome;
  readonly failure?: Failure;
  readonly reason?: "interrupted" | "replaced" | "closed";
}
