/** One turn: steps until the agent is done, a limit is hit, or somebody stops it. */
import { workflowInfo } from "@temporalio/workflow";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Failure, PlannedCall } from "../contract/steps.ts";
import type { SessionAgent } from "./messages.ts";
import { remote } from "./proxies.ts";
import { addUsage, type TurnState } from "./session-state.ts";

type CallToRun = Omit<PlannedCall, "quick">;

export type TurnEnd =
  | { readonly ended: "completed" }
  | { readonly ended: "failed"; readonly failure: Failure }
  /** A good place to continue as new: nothing runs, everything is committed. */
  | { readonly ended: "boundary" };

/** What a turn needs of its session. It changes the session only through these. */
export interface TurnContext {
  readonly sessionId: SessionId;
  readonly agent: SessionAgent;
  readonly turn: () => TurnState;
  readonly change: (change: Partial<TurnState>) => void;
  readonly running: Set<string>;
  /** Has the sandbox made, beside the first model call. */
  readonly startSandbox: () => void;
  /** Resolves when the making of the sandbox has ended. */
  readonly sandboxReady: () => Promise<void>;
  /** Something new may lie in the artifact folders. */
  readonly artifactsChanged: () => void;
}

/** Runs the turn from its current step. Throws only when it is cancelled. */
export async function runTurn(context: TurnContext): Promise<TurnEnd> {
  const { limits } = context.agent;
  for (let isFirst = true; ; isFirst = false) {
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
    const ended = await runStep(context, step);
    if (ended) return ended;
    context.change({ step: step + 1 });
  }
}

async function runStep(context: TurnContext, step: number): Promise<TurnEnd | undefined> {
  const { sessionId, running } = context;
  const { turnId, messageId } = context.turn();
  running.add("step");
  const answer = remote.runStep.executeWithOptions({ summary: `step ${step}` }, [
    { sessionId, turnId, messageId, step },
  ]);
  context.startSandbox();
  const result = await answer.finally(() => running.delete("step"));
  context.change({ usage: addUsage(context.turn().usage, result.usage) });
  switch (result.next) {
    case "failed":
      return { ended: "failed", failure: result.failure };
    case "done":
      return { ended: "completed" };
    case "calls":
      if (result.ranTools || result.calls.length > 0) context.change({ hasRunTools: true });
      if (result.artifacts) context.artifactsChanged();
      await runCalls(context, result.calls);
      return undefined;
  }
}

/** Runs a step's calls in parallel, as many at once as the agent may, started in the order the model made them. */
async function runCalls(context: TurnContext, calls: readonly CallToRun[]): Promise<void> {
  if (calls.length === 0) return;
  await context.sandboxReady();
  const waiting = [...calls];
  const runNext = async (): Promise<void> => {
    for (let call = waiting.shift(); call; call = waiting.shift()) await runCall(context, call);
  };
  const lanes = Math.min(context.agent.limits.toolsInParallel, calls.length);
  await Promise.all(Array.from({ length: lanes }, runNext));
}

async function runCall(context: TurnContext, call: CallToRun): Promise<void> {
  const { sessionId, running } = context;
  const label = `${call.name} ${call.callId}`;
  running.add(label);
  const result = await remote.runTool
    .executeWithOptions({ summary: call.summary }, [{ sessionId, callId: call.callId }])
    .finally(() => running.delete(label));
  if (result.artifacts) context.artifactsChanged();
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
