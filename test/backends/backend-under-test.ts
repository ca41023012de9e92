/** What the parts of the conformance suite are given: a backend, how others make the same, and what its model was shown. */
import type { BackendEntry, StepInput, StepOutput, SteppedBackend, StepSink } from "../../backends/backend.ts";
import { BackendError } from "../../backends/backend.ts";
import type { AgentInput, ModelSettings } from "../../contract/agents.ts";
import type { ScriptStep } from "../support/model-script.ts";
import type { SeenConversation } from "../support/seen-conversation.ts";
import type { BackendRecipe } from "./backend-process.ts";
import type { PlayedSession } from "./played-session.ts";

export type Wire = "responses" | "chat_completions" | "anthropic" | "none";

/** One call of the model, as the model's side saw it. */
export interface SeenCall {
  readonly conversation: SeenConversation;
  readonly body: unknown;
  readonly key: string | undefined;
  /** When the stream to the backend was closed before the whole answer had gone out. */
  readonly closedEarlyAt: number | undefined;
}

export interface BackendUnderTest extends AsyncDisposable {
  readonly entry: BackendEntry;
  readonly wire: Wire;
  /** What an agent says to have this wire. */
  readonly modelSettings: ModelSettings;
  /** The backend as it should be set up, and set up wrongly. */
  readonly recipe: BackendRecipe;
  readonly wrongKey: BackendRecipe;
  readonly noKey: BackendRecipe;
  /** With a provider that cannot be reached. */
  readonly nowhere: BackendRecipe;
  /** What the words about a missing key must name. */
  readonly keyVariables: readonly string[];
  /** All calls of the model, oldest first. */
  seen(): readonly SeenCall[];
  /** Resolves when the condition on what was seen holds, rejects when it does not by the deadline. */
  until(condition: () => boolean, deadlineMs?: number): Promise<void>;
}

/** What the parts of the suite work with. */
export interface Given extends BackendUnderTest {
  readonly backend: SteppedBackend;
  run(input: StepInput, sink: StepSink, signal: AbortSignal): Promise<StepOutput>;
  session(agent?: AgentInput, tools?: StepInput["tools"]): PlayedSession;
  /** What the model was shown last. */
  last(): SeenConversation;
}

/** Where a model can fall silent for ever. */
export const SILENCES: readonly [string, ScriptStep][] = [
  ["before the first byte", { waitMs: 60_000, text: "late" }],
  ["in mid-stream", { text: "a beginning", stall: true }],
];

/** For what starts processes: they come one after another, on a machine that may have other things to do. */
export const SLOW_MS = 60_000;

export function lastOf(seen: Pick<BackendUnderTest, "seen">): SeenConversation {
  const call = seen.seen().at(-1);
  if (call === undefined) throw new Error("the model was never called");
  return call.conversation;
}

/** The BackendError that it ends with; anything else is a failure of the test. */
export async function failureOf(step: Promise<unknown>): Promise<BackendError> {
  const outcome = await step.then(
    (value) => new Error(`expected a failure, found ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  if (outcome instanceof BackendError) return outcome;
  throw outcome;
}
