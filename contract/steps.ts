/** What activities take and answer: ids, counters and small enums. It is all that Temporal's history ever holds. */
import type { Agent, AgentLimits } from "./agents.ts";
import type { ToolOutcome } from "./blocks.ts";
import type { TurnCode } from "./errors.ts";
import type { CallId, MessageId, SessionId, TurnId } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import type { TurnOutcome } from "./session.ts";
import type { Usage } from "./usage.ts";
import type { WaitKind } from "./waits.ts";

export interface StepKey {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
  /** Counts from 1 in each turn. */
  readonly step: number;
}

export interface StepRequest extends StepKey {
  readonly messageId: MessageId;
  /** Messages that join the turn with this step. */
  readonly steer?: readonly MessageId[];
  /** Which configuration of the session the workflow knows; left out for the one it was started with. */
  readonly configuration?: number;
  /** Where the workflow believes the sandbox to be, when that is on one host. */
  readonly sandboxQueue?: string;
  /** Its commands may be begun by the step's own activity: whoever stops the turn ends them. */
  readonly commands?: true;
}

/** What the workflow has to know of the agent: its name for search, its limits. */
export interface SessionAgent {
  readonly name: string;
  readonly limits: Pick<AgentLimits, "stepsPerTurn" | "turnTimeoutMs" | "tokensPerTurn" | "toolsInParallel">;
  /** Whether it may need a sandbox. */
  readonly hasTools: boolean;
  /** After how long without a turn its sandbox is stopped; undefined in sessions of before 0.3. */
  readonly sandboxIdleMs?: number;
}

export function sessionAgent(agent: Agent): SessionAgent {
  const { stepsPerTurn, turnTimeoutMs, tokensPerTurn, toolsInParallel } = agent.limits;
  return {
    name: agent.name,
    limits: { stepsPerTurn, turnTimeoutMs, tokensPerTurn, toolsInParallel },
    hasTools: agent.tools.length > 0,
    sandboxIdleMs: agent.sandbox?.idleTimeoutMs ?? LIMITS.sandboxIdleMs.default,
  };
}

/** A configuration that the workflow does not know yet. */
export interface Configured {
  readonly configuration: number;
  readonly agent: SessionAgent;
}

/** What a call waits for before it can run, or instead of running. */
export interface PlannedWait {
  readonly kind: WaitKind;
  /** Milliseconds since 1970. */
  readonly deadline: number;
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
  readonly wait?: PlannedWait;
}

/** What a step brought about, as it is committed. */
export type StepResult =
  /** The agent wants these calls, or (none) another step: what it was told is in the transcript. */
  | { readonly next: "calls"; readonly calls: readonly PlannedCall[]; readonly usage: Usage }
  | { readonly next: "done"; readonly usage: Usage }
  /** The turn's message was taken back before it began: there is no turn. */
  | { readonly next: "skipped"; readonly usage: Usage }
  | { readonly next: "failed"; readonly failure: Failure; readonly usage: Usage };

/** What the step's activity answers: quick calls are done by then. */
export type StepAnswer = {
  readonly configured?: Configured;
  /** Messages that were to join with it, and came when it had been committed. */
  readonly late?: readonly MessageId[];
} & (
  | {
      readonly next: "calls";
      readonly calls: readonly Omit<PlannedCall, "quick">[];
      readonly usage: Usage;
      /** A tool has run, so that there is a sandbox which may hold artifacts. */
      readonly ranTools: boolean;
      /** Something in the agent's artifact folders is new or changed. */
      readonly artifacts: boolean;
      /** The task queue of the host that the sandbox lives on, where the workflow would ask another. */
      readonly queue?: string;
    }
  | Exclude<StepResult, { readonly next: "calls" }>
);

export interface CallKey {
  readonly sessionId: SessionId;
  readonly callId: CallId;
}

export interface CallResult {
  readonly outcome: ToolOutcome;
  /** Something in the agent's artifact folders is new or changed. */
  readonly artifacts: boolean;
  /** It has not ended: a person has to say whether it may be run again. */
  readonly wait?: PlannedWait;
}

export interface WaitKey extends CallKey {
  readonly kind: WaitKind;
}

/** The type of the failure of an activity that only the workers of another host can do; its detail is their task queue. */
export const ELSEWHERE = "Elsewhere";

export interface TurnKey {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
}

export interface TurnEnding extends TurnKey {
  readonly messageId: MessageId;
  readonly outcome: TurnOutcome;
  readonly failure?: Failure;
  readonly reason?: "interrupted" | "replaced" | "closed";
  /** That it closes, somebody has asked for: then the rows know of it. Left out when the workflow itself was cancelled, and by runs that began before 0.4. */
  readonly onRequest?: true;
  /** The step that completed it. Runs that began before 0.4 do not say. */
  readonly step?: number;
  /** Messages that were to join the turn and did not: they get turns of their own. */
  readonly requeued?: readonly MessageId[];
}

export interface SessionClosing {
  /** The store is older than the workflow, and nobody has asked there for it to be closed: it was not. */
  readonly behind?: true;
}

export interface TurnEnded {
  /** Of the messages that were to join the turn, those that did not. */
  readonly requeued: readonly MessageId[];
  /** The store is older than the workflow and knows nothing of this: nothing was ended. */
  readonly behind?: true;
}

export interface RecoveredMessage {
  readonly messageId: MessageId;
  readonly turnId: TurnId;
}

/** A turn that has begun and not ended. */
export interface RecoveredTurn extends RecoveredMessage {
  /** Its newest step: asked for again, it answers with what is committed of it, or is attempted once more. */
  readonly step: number;
  readonly startedAt: number;
  /** Milliseconds that it has worked, by the rows, without its waits for people. */
  readonly spentMs: number;
  /** Of the steps before. */
  readonly usage: Usage;
  readonly hasRunTools: boolean;
  /** Messages that are to join it. */
  readonly steering?: readonly RecoveredMessage[];
  readonly stop?: "interrupted" | "replaced";
}

/** What the store says is going on in a session. */
export interface Recovered {
  readonly queue: readonly RecoveredMessage[];
  readonly turn?: RecoveredTurn;
  /** Somebody has asked for it to be closed. */
  readonly closing: boolean;
  readonly turns: number;
  readonly usage: Usage;
  readonly hasSandbox: boolean;
  readonly configured: Configured;
}
