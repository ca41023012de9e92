/**
 * What runs an agent's loop, one step at a time.
 *
 * Every backend is a function (transcript → reply): its retry starts from the same committed transcript, so a lost
 * attempt costs one repeated model call and nothing else. It holds no state of a session between two steps that it could not do without.
 */
import type { Agent } from "../contract/agents.ts";
import type { ReplyBlock, TranscriptMessage } from "../contract/blocks.ts";
import { TURN_CODES, type TurnCode } from "../contract/errors.ts";
import type { CallId, SessionId } from "../contract/ids.ts";
import type { Usage } from "../contract/usage.ts";

export interface SteppedBackend {
  readonly name: string;
  /** One model call. Throws BackendError only; an abort of the signal throws BackendError ABORTED and closes the stream to the model. */
  step(input: StepInput, sink: StepSink, signal: AbortSignal): Promise<StepOutput>;
  listModels(): Promise<readonly ModelInfo[]>;
  validate(): Promise<ValidationResult>;
}

export interface StepInput {
  readonly sessionId: SessionId;
  readonly agent: Agent;
  /**
   * Oldest first. Messages that were in an earlier step's transcript are the same objects while the worker lives, so a
   * backend may cache by identity (WeakMap) what it makes of each. Must not be changed.
   */
  readonly transcript: readonly TranscriptMessage[];
  readonly tools: readonly ToolDeclaration[];
}

export interface ToolDeclaration {
  readonly name: string;
  readonly description: string;
  /** JSON schema. */
  readonly parameters: Record<string, unknown>;
}

/** Takes the reply while it streams. Calls are synchronous and cheap; for one index: started, deltas, completed. Indexes count from 0. */
export interface StepSink {
  blockStarted(
    index: number,
    block: { readonly type: ReplyBlock["type"]; readonly callId?: CallId; readonly name?: string },
  ): void;
  blockDelta(index: number, text: string): void;
  blockCompleted(index: number, block: ReplyBlock): void;
}

export interface StepOutput {
  /** In the order of their indexes, the same that went to blockCompleted. Call ids are ours (newId("call")), the provider's are inside. */
  readonly blocks: readonly ReplyBlock[];
  readonly usage: Usage;
  /** The model as the provider names it. */
  readonly model: string;
  /** Set when the model declined in words; the blocks then hold them as text. */
  readonly refusal?: string;
}

export interface ModelInfo {
  readonly id: string;
}
export interface ValidationResult {
  readonly valid: boolean;
  readonly errors: readonly string[];
}

/** The only thing a backend throws. `code` is what the turn would fail with; `retryable` decides the retry, nothing else does. */
export class BackendError extends Error {
  override readonly name = "BackendError";
  readonly code: TurnCode;
  readonly retryable: boolean;
  /** The provider's wish, when it named one. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: TurnCode,
    message: string,
    options: ErrorOptions & { retryable?: boolean; retryAfterMs?: number | undefined } = {},
  ) {
    super(message, options);
    this.code = code;
    this.retryable = options.retryable ?? TURN_CODES[code];
    this.retryAfterMs = options.retryAfterMs;
  }
}
