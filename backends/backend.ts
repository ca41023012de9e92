/**
 * What runs an agent's loop, one step at a time.
 *
 * Every backend is a function (transcript, state → reply, state'): its retry starts from the same committed transcript and
 * state, so a lost attempt costs one repeated model call and nothing else. It holds nothing of a session between two steps
 * that it could not do without. A backend is correct when `test/backends/conformance.ts` passes against it.
 */
import type { Agent } from "../contract/agents.ts";
import type { BackendCapabilities, ModelInfo } from "../contract/backends.ts";
import type { ReplyBlock, TranscriptMessage } from "../contract/blocks.ts";
import type { Config } from "../contract/config.ts";
import { TURN_CODES, type TurnCode } from "../contract/errors.ts";
import type { CallId, SessionId } from "../contract/ids.ts";
import type { Usage } from "../contract/usage.ts";

export interface SteppedBackend {
  readonly name: string;
  /** It keeps a state of its own: its steps are given it. Left out: the transcript is all that it needs. */
  readonly keepsState?: boolean;
  /** One model call. Throws BackendError only; an abort of the signal throws BackendError ABORTED and closes the stream to the model. */
  step(input: StepInput, sink: StepSink, signal: AbortSignal): Promise<StepOutput>;
  /** Bounded in time. Throws BackendError. */
  listModels(): Promise<readonly ModelInfo[]>;
  /** Whether it can be used as it is set up; never throws. Bounded in time. */
  validate(): Promise<ValidationResult>;
  /** Ends what it keeps running, such as a process of its own. */
  [Symbol.asyncDispose]?(): Promise<void>;
}

/** What is known of a backend without making it: one line of the registry. Nothing here loads a vendor's SDK. */
export interface BackendEntry {
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly capabilities: BackendCapabilities;
  /** The model of agents that name none. */
  defaultModel(config: Config): string;
  /** Loads what it needs when it is first used, not here. */
  create(options: BackendOptions): Promise<SteppedBackend>;
}

export interface BackendOptions {
  readonly config: Config;
  /** A folder of this worker's own, empty at its start. */
  readonly scratchDir: string;
  /** For what nobody can be told otherwise. */
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
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
  /** What the step before committed of the backend's own state; undefined when there is none, or it is another backend's. */
  readonly state?: BackendState | undefined;
}

/**
 * A backend's own state of one session, committed with the step that made it. It may lack what the transcript has beyond
 * it (results, messages, turns that failed or went to another backend): whether it can be gone on from is the backend's to
 * tell, by `meta`. From the transcript alone it must be able to begin anew.
 */
export interface BackendState {
  /** All chunks that were appended, joined. */
  readonly text: string;
  /** JSON, as the backend gave it with its newest step. */
  readonly meta: unknown;
  /** Tells one text from another: the same version is the same text, so that a warm backend need not compare. */
  readonly version: string;
}

export interface StateChange {
  /** What is added to the text; or the whole of a text that begins anew. */
  readonly append?: string;
  readonly replace?: string;
  readonly meta: unknown;
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
  /** Committed in the same transaction as the reply. */
  readonly state?: StateChange;
}

export interface ValidationResult {
  readonly valid: boolean;
  /** Each with the code that a turn would fail with, and words that say what to do. */
  readonly errors: readonly { readonly code: TurnCode; readonly message: string }[];
}

/** The only thing a backend throws. `code` is what the turn would fail with; `retryable` decides the retry, nothing else does. */
export class BackendError extends Error {
  override readonly name = "BackendError";
  readonly code: TurnCode;
  readonly retryable: boolean;
  /** The provider's wish, when it named one. */
  readonly retryAfterMs: number | undefined;
  /** A process of ours was lost, not the model's call: it is tried again at once, and not counted among the model's attempts. */
  readonly isLost: boolean;
  /** What the provider has counted all the same, as of a reply that it cut at its limit. */
  readonly usage: Usage | undefined;

  constructor(
    code: TurnCode,
    message: string,
    options: ErrorOptions & {
      retryable?: boolean;
      retryAfterMs?: number | undefined;
      isLost?: boolean;
      usage?: Usage;
    } = {},
  ) {
    super(message, options);
    this.code = code;
    this.retryable = options.retryable ?? TURN_CODES[code];
    this.retryAfterMs = options.retryAfterMs;
    this.isLost = options.isLost ?? false;
    this.usage = options.usage;
  }
}
