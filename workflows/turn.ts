/** One turn: steps until the agent is done, a limit is hit, or somebody stops it. */
import { workflowInfo } from "@temporalio/workflow";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CallResult, Failure, PlannedWait, SessionAgent, StepAnswer, StepRequest } from "../contract/steps.ts";
import type { WaitVerdict } from "../contract/waits.ts";
import { Lanes } from "./lanes.ts";
import { SandboxRoute } from "./sandbox-route.ts";
import { addUsage, type CallToRun, type TurnState } from "./session-state.ts";

export type TurnEnd =
  | { readonly ended: "completed" }
  | { readonly ended: "failed"; readonly failure: Failure }
  /** The store is older than this run, or newer: it begins anew from the rows. */
  | { readonly ended: "overtaken" }
  /** The turn's message had been taken back: nothing was done, and nothing need be said. */
  | { readonly ended: "skipped" }
  /** A good place to continue as new: nothing runs, everything is committed or waits for somebody. */
  | { readonly ended: "boundary" };

/** What a turn needs of its session. It changes the session only through these. */
export interface TurnContext {
  readonly sessionId: SessionId;
  readonly agent: () => SessionAgent;
  readonly turn: () => TurnState;
  readonly change: (change: Partial<TurnState>) => void;
  readonly running: Set<string>;
  /** Calls of the step that have not ended: they run, or wait for whatever. */
  readonly open: Set<CallToRun>;
  /** Calls that a run before has left waiting, once. */
  readonly takeCalls: () => readonly CallToRun[];
  /** Where what touches the sandbox is done. */
  readonly route: SandboxRoute;
  /** Has the sandbox made, beside the first model call. */
  readonly startSandbox: () => void;
  /** Resolves when the making of the sandbox has ended. */
  readonly sandboxReady: () => Promise<void>;
  /** Something new may lie in the artifact folders. */
  readonly artifactsChanged: () => void;
  /** What a step's request says besides its place: messages that join with it, the configuration that is known here. */
  readonly beginStep: () => Pick<StepRequest, "steer" | "configuration" | "commands">;
  /** The step has answered. */
  readonly endStep: (answer: Pick<StepAnswer, "configured" | "late">) => void;
  /** Whether messages wait to join. */
  readonly hasSteering: () => boolean;
  readonly waitFor: (call: CallToRun, wait: PlannedWait) => Promise<WaitVerdict>;
}

/** Runs the turn from its current step. Throws only when it is cancelled. */
export async function runTurn(context: TurnContext): Promise<TurnEnd> {
  const left = context.takeCalls();
  if (left.length > 0) {
    await runCalls(context, left);
    context.change({ step: context.turn().step + 1 });
  }
  const steps = new SandboxRoute();
  for (let isFirst = true; ; isFirst = false) {
    const { limits } = context.agent();
    const { step, usage } = context.turn();
    if (step > limits.stepsPerTurn)
      return failed("LIMIT_EXCEEDED", `the turn took ${limits.stepsPerTurn} steps, the agent's limit stepsPerTurn`);
    if (usage.inputTokens + usage.outputTokens > limits.tokensPerTurn) {
      return failed(
        "LIMIT_EXCEEDED",
        `the turn used more than ${limits.tokensPerTurn} tokens, the agent's limit tokensPerTurn`,
      );
    }
    if (!isFirst && isLongHistory(LIMITS.historyEvents)) return { ended: "boundary" };
    const ended = await runStep(context, steps, step);
    // Who was to join the turn is not left behind because the agent was done a moment before.
    const goesOn = ended?.ended === "completed" && context.hasSteering();
    if (ended && !goesOn) return ended;
    context.change({ step: step + 1 });
  }
}

async function runStep(context: TurnContext, steps: SandboxRoute, step: number): Promise<TurnEnd | undefined> {
  const { sessionId, running } = context;
  const { turnId, messageId } = context.turn();
  running.add("step");
  const { queue } = context.route;
  const believed = queue === undefined ? {} : { sandboxQueue: queue };
  const request: StepRequest = { sessionId, turnId, messageId, step, ...believed, ...context.beginStep() };
  const answer = steps.run((activities) =>
    activities.runStep.executeWithOptions({ summary: `step ${step}` }, [request]),
  );
  context.startSandbox();
  const result = await answer.finally(() => running.delete("step"));
  context.endStep(result);
  context.change({ usage: addUsage(context.turn().usage, result.usage) });
  switch (result.next) {
    case "failed":
      return { ended: "failed", failure: result.failure };
    case "done":
      return { ended: "completed" };
    case "skipped":
      return { ended: "skipped" };
    case "calls":
      if (result.ranTools || result.calls.length > 0) context.change({ hasRunTools: true });
      if (result.artifacts) context.artifactsChanged();
      if (result.queue !== undefined) context.route.move(result.queue);
      await runCalls(context, result.calls);
      return undefined;
  }
}

/** Runs a step's calls in parallel, as many at once as the agent may, started in the order the model made them. */
async function runCalls(context: TurnContext, calls: readonly CallToRun[]): Promise<void> {
  const lanes = new Lanes(context.agent().limits.toolsInParallel);
  await Promise.all(
    calls.map(async (call) => {
      context.open.add(call);
      try {
        await settleCall(context, lanes, call);
      } finally {
        context.open.delete(call);
      }
    }),
  );
}

/** Waits for whatever a call waits for, in any order with the others, and runs it when it may be run. */
async function settleCall(context: TurnContext, lanes: Lanes, call: CallToRun): Promise<void> {
  let { wait } = call;
  for (;;) {
    while (wait) {
      const verdict: WaitVerdict = await context.waitFor(call, wait);
      if (verdict.next === "over") return;
      wait = verdict.next === "wait" ? { kind: verdict.kind, deadline: verdict.deadline } : undefined;
    }
    const result = await lanes.run(() => runCall(context, call));
    if (result.artifacts) context.artifactsChanged();
    if (!result.wait) return;
    wait = result.wait;
  }
}

async function runCall(context: TurnContext, call: CallToRun): Promise<CallResult> {
  const { sessionId, running } = context;
  await context.sandboxReady();
  const label = `${call.name} ${call.callId}`;
  running.add(label);
  const key = { sessionId, callId: call.callId };
  return await context.route
    .run((activities) => activities.runTool.executeWithOptions({ summary: call.summary }, [key]))
    .finally(() => running.delete(label));
}

function failed(code: Failure["code"], message: string): TurnEnd {
  return { ended: "failed", failure: { code, message, retryable: false } };
}

/** Whether this run's history is long enough to begin a new one: a worker that has lost its cache replays all of it. */
export function isLongHistory(eventsMax: number): boolean {
  const info = workflowInfo();
  return (
    info.continueAsNewSuggested ||
    info.targetWorkerDeploymentVersionChanged ||
    info.historyLength >= eventsMax ||
    info.historySize >= LIMITS.historyBytes
  );
}

/** The same for a session that does nothing: only what is told to it makes its history longer, so each run has a first part of its own. */
export function isGrownHistory(eventsMax: number): boolean {
  const info = workflowInfo();
  const isLong = info.continueAsNewSuggested || info.historySize >= LIMITS.historyBytes;
  return info.historyLength >= (isLong ? GROWN_MIN : eventsMax);
}

/** A run that is shorter has nothing to be rid of. */
const GROWN_MIN = 50;
