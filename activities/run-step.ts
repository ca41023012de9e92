/** One step: one model call, streamed to the log while it comes, committed whole. */
import { ApplicationFailure } from "@temporalio/activity";
import { BackendError, type StepOutput, type SteppedBackend } from "../backends/backend.ts";
import { cutText } from "../contract/cut-text.ts";
import { LIMITS } from "../contract/limits.ts";
import {
  type Configured,
  type Failure,
  type StepAnswer,
  type StepRequest,
  type StepResult,
  sessionAgent,
} from "../contract/steps.ts";
import { NO_USAGE } from "../contract/usage.ts";
import { StoreError, SupersededError } from "../store/error.ts";
import type { SessionSetup } from "../store/session-setup.ts";
import { type BegunStep, beginStep, endStep, failAttempt, publishReply, type StepEnding } from "../store/steps.ts";
import { checkOutput } from "../threads/schemas.ts";
import { attempted, type RunningAttempt } from "./attempt.ts";
import { missingTools, sessionDeclarations } from "./callable-tools.ts";
import { runCallsHere } from "./calls-here.ts";
import { placeStep } from "./place-work.ts";
import { betterSetUp, elsewhereFor } from "./placement.ts";
import { planCalls } from "./planned-calls.ts";
import { ReplyWriter } from "./reply-writer.ts";
import type { RunToolDeps } from "./run-tool.ts";

export interface RunStepDeps extends RunToolDeps {
  readonly backends: ReadonlyMap<string, SteppedBackend>;
}

/** Attempts of one step, lost workers included, after which it is the step itself that kills them. */
const ATTEMPTS_MAX = 100;
/** Failures that may be this worker's alone: another may have the key, the runtime, the model. */
const OF_THIS_WORKER: ReadonlySet<string> = new Set([
  "AUTH_EXPIRED",
  "AUTH_INVALID",
  "AUTH_REQUIRED",
  "MODEL_NOT_FOUND",
  "DEPENDENCY_MISSING",
  "BACKEND_NOT_INSTALLED",
  "PERMISSION_DENIED",
  "PROVIDER_NOT_FOUND",
]);
/** What a failure's message may take in an activity's answer. */
const FAILURE_BYTES = 600;
const BACKOFF_MS = { first: 500, max: 30_000, asked: 600_000 };

export type RunStep = (request: StepRequest) => Promise<StepAnswer>;

export function createRunStep(deps: RunStepDeps): RunStep {
  return (request) =>
    attempted(deps, async (running) => {
      await placeStep(deps, request);
      // A retry after a lost answer finds the step committed and returns it: the model is not called again.
      const begun = await beginStep(deps.store.database, request, running.attempt);
      const result = begun.state === "done" ? begun.result : await replyTo(deps, begun, running);
      const late = begun.state === "done" && begun.late.length > 0 ? { late: begun.late } : {};
      const configured = { ...news(request, begun.setup), ...late };
      if (result.next !== "calls") return { ...result, ...configured };
      const { left, ...ran } = await runCallsHere(
        deps,
        { request, agent: begun.setup?.agent, calls: result.calls },
        running,
      );
      const calls = left.map(({ quick: _, ...call }) => call);
      return { next: "calls", calls, usage: result.usage, ...ran, ...configured };
    });
}

/** What the workflow has to be told of a session that was configured since it last heard of it. */
function news(request: StepRequest, setup: SessionSetup | undefined): { readonly configured?: Configured } {
  if (!setup || setup.configuration === (request.configuration ?? 0)) return {};
  return { configured: { configuration: setup.configuration, agent: sessionAgent(setup.agent) } };
}

async function replyTo(deps: RunStepDeps, begun: BegunStep, running: RunningAttempt): Promise<StepResult> {
  const lost = new AbortController();
  const { turnId, step } = begun.key;
  using writer = new ReplyWriter(
    { turnId, step },
    (facts) => publishReply(deps.store.database, begun, facts),
    (error) => lost.abort(error),
  );
  try {
    if (begun.epoch > ATTEMPTS_MAX) {
      throw new BackendError("PROVIDER_ERROR", `this step was lost ${ATTEMPTS_MAX} times`, { retryable: false });
    }
    const signal = AbortSignal.any([running.signal, lost.signal]);
    const output = await callModel(deps, begun, { writer, signal });
    return await commit(deps, begun, { output, writer, running });
  } catch (error) {
    if (running.isStopped()) await publishRest(deps, begun, writer);
    if (running.signal.aborted) throw error;
    if (lost.signal.aborted) throw lost.signal.reason; // Superseded, or the store failed: not the model's fault.
    return await fail(deps, begun, { error, writer, running });
  }
}

/** What has come of a reply that is stopped is kept with its turn's end, from the log. */
async function publishRest(deps: RunStepDeps, begun: BegunStep, writer: ReplyWriter): Promise<void> {
  try {
    const facts = await writer.end();
    if (facts.length > 0) await publishReply(deps.store.database, begun, facts);
  } catch {
    // The turn has ended meanwhile, or the store is away: then a few milliseconds of text are not kept.
  }
}

interface Reply {
  readonly writer: ReplyWriter;
  readonly running: RunningAttempt;
}

async function callModel(
  deps: RunStepDeps,
  begun: BegunStep,
  io: { readonly writer: ReplyWriter; readonly signal: AbortSignal },
): Promise<StepOutput> {
  const { setup, key } = begun;
  const { agent } = setup;
  const backend = deps.backends.get(agent.backend);
  if (!backend) {
    const have = [...deps.backends.keys()].join(", ");
    const waited = `no worker has had the backend "${agent.backend}" for ${LIMITS.workerWaitMs / 1000} s`;
    throw new BackendError("BACKEND_NOT_INSTALLED", `${waited}; this one has ${have}`);
  }
  const missing = missingTools(deps.tools, setup);
  if (missing.length > 0) {
    const message = `no worker has had the agent's tools ${missing.join(", ")} for ${LIMITS.workerWaitMs / 1000} s; start one with --tools or PERDURE_TOOLS`;
    throw new BackendError("DEPENDENCY_MISSING", message);
  }
  const [transcript, state] = await Promise.all([
    deps.store.transcripts.read(key.sessionId),
    backend.keepsState ? deps.store.states.read(key.sessionId, agent.backend) : undefined,
  ]);
  const tools = sessionDeclarations(deps.tools, setup);
  return await backend.step({ sessionId: key.sessionId, agent, transcript, tools, state }, io.writer, io.signal);
}

async function commit(
  deps: RunStepDeps,
  begun: BegunStep,
  reply: Reply & { readonly output: StepOutput },
): Promise<StepResult> {
  const { output, writer, running } = reply;
  const { blocks, usage, model } = output;
  const gatekeeper = {
    database: deps.store.database,
    tools: deps.tools,
    sessionId: begun.key.sessionId,
    setup: begun.setup,
  };
  const newsBytes = Buffer.byteLength(JSON.stringify(news(begun.key, begun.setup)));
  const { made, planned } = await planCalls(gatekeeper, blocks, newsBytes);
  const state = output.state && { ...output.state, backend: begun.setup.agent.backend };
  const common = { model, usage, blocks, calls: made, ...(state && { state }) };
  const ending =
    made.length > 0
      ? { ...common, result: { next: "calls" as const, calls: planned, usage } }
      : { ...common, ...(await conclude(begun, output)) };
  const facts = await writer.end();
  // While quick calls follow in this attempt its row stays, so that a dead worker's attempt is handed back.
  const attempt = planned.some((call) => call.quick) ? undefined : running.attempt;
  await endStep(deps.store.database, begun, { ...ending, facts, attempt });
  return ending.result;
}

/** What an answer without calls means: the turn is done, or the agent is asked once more for the shape that it owes. */
async function conclude(
  begun: BegunStep,
  output: StepOutput,
): Promise<Pick<StepEnding, "result" | "reAsk" | "structuredOutput">> {
  const { usage } = output;
  if (output.refusal !== undefined) {
    const message = `the model declined: ${cutText(output.refusal, 300)}`;
    return { result: { next: "failed", usage, failure: { code: "INVALID_RESPONSE", message, retryable: false } } };
  }
  const checked = await checkAnswer(begun, output);
  if (checked.state === "fits")
    return { result: { next: "done", usage }, ...(checked.value !== undefined && { structuredOutput: checked.value }) };
  if (begun.reAsked === 0) {
    const reAsk = `Your answer does not match the JSON schema that it must have: ${checked.errors}\nAnswer again, with nothing but JSON that matches the schema.`;
    return { result: { next: "calls", calls: [], usage }, reAsk };
  }
  const message = `the agent's answer does not match its outputSchema, also when asked again: ${checked.errors}`.slice(
    0,
    500,
  );
  return { result: { next: "failed", usage, failure: { code: "INVALID_RESPONSE", message, retryable: false } } };
}

async function checkAnswer(
  { key, setup }: BegunStep,
  output: StepOutput,
): Promise<
  { readonly state: "fits"; readonly value?: unknown } | { readonly state: "differs"; readonly errors: string }
> {
  const { outputSchema } = setup.agent;
  if (!outputSchema) return { state: "fits" };
  const text = output.blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");
  const checked = await checkOutput(outputSchema, text, { key: key.sessionId });
  return "errors" in checked
    ? { state: "differs", errors: cutText(checked.errors, 2_000) }
    : { state: "fits", value: checked.value };
}

/** Tries again in a while, or commits the failure as the step's result: a turn always ends, in words. */
async function fail(
  deps: RunStepDeps,
  begun: BegunStep,
  reply: Reply & { readonly error: unknown },
): Promise<StepResult> {
  const { error, writer, running } = reply;
  if (error instanceof SupersededError) throw error;
  // No model is at fault, and none of its tries is used up; only what can never be read ends the turn, in words.
  if (error instanceof StoreError && error.kind !== "corrupt") throw error;
  const backendError = asBackendError(error);
  if (backendError.isLost) throw lostBackend(backendError);
  if (OF_THIS_WORKER.has(backendError.code)) {
    const queue = await betterSetUp(deps, begun.setup.agent, backendError.code);
    if (queue !== undefined) throw elsewhereFor(queue);
  }
  const failure: Failure = {
    code: backendError.code,
    message: brief(backendError.message),
    retryable: backendError.retryable,
  };
  const facts = await writer.end();
  const isLast = !backendError.retryable || begun.failures + 1 >= begun.setup.agent.limits.modelAttempts;
  if (!isLast) {
    const retryInMs = backOff(begun.failures, backendError.retryAfterMs);
    await failAttempt(deps.store.database, begun, { facts, failure, retryInMs, attempt: running.attempt });
    throw ApplicationFailure.create({
      type: failure.code,
      message: failure.message,
      nextRetryDelay: Math.max(1, retryInMs),
    });
  }
  const { usage = NO_USAGE } = backendError;
  const result: StepResult = { next: "failed", failure, usage };
  const nothing = { model: begun.setup.agent.model ?? "", usage, blocks: [], calls: [] };
  await endStep(deps.store.database, begun, { ...nothing, result, facts, attempt: running.attempt });
  return result;
}

/** Not the model's failure, so none of its tries: Temporal runs the step again, and clients see it restart. */
function lostBackend(error: BackendError): ApplicationFailure {
  return ApplicationFailure.create({ type: "BackendLost", message: brief(error.message), nextRetryDelay: 20 });
}

/** A message that stays small in Temporal's history, whatever characters it is made of. */
function brief(message: string): string {
  const text = message.replace(/\p{Cc}+/gu, " ");
  for (let length = Math.min(text.length, FAILURE_BYTES); ; length -= 50) {
    if (Buffer.byteLength(text.slice(0, length)) <= FAILURE_BYTES) return cutText(text, length);
  }
}

function asBackendError(error: unknown): BackendError {
  if (error instanceof BackendError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new BackendError("PROVIDER_ERROR", `the step failed: ${message}`, { cause: error });
}

/**
 * The provider's own wish when it has one, else twice as long each time, with a quarter of it left to chance. "At once", or a
 * time that is over, is no wish: all tries would be used up within milliseconds.
 */
function backOff(failures: number, askedMs: number | undefined): number {
  if (askedMs !== undefined && askedMs > 0) return Math.min(askedMs, BACKOFF_MS.asked);
  const full = Math.min(BACKOFF_MS.first * 2 ** failures, BACKOFF_MS.max);
  return Math.round(full * (0.75 + Math.random() * 0.25));
}
