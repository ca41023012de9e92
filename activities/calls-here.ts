/**
 * What of a step's calls is run by the step's own activity, each begun and ended under its own key, like any call.
 *
 * Quick calls are, to their end: as activities of their own they would cost several times what they do; as local activities
 * they could be neither cancelled nor handed back when their worker dies. Commands are begun here, too, and followed for a
 * moment: most are over by then. What is not goes on, and an activity of its own follows it, as it would after a lost worker.
 */
import type { Agent } from "../contract/agents.ts";
import { LIMITS } from "../contract/limits.ts";
import type { PlannedCall, StepRequest } from "../contract/steps.ts";
import { hostQueue, isOfOneWorker } from "../contract/task-queue.ts";
import { currentSandbox } from "../store/sandboxes.ts";
import type { RunningAttempt } from "./attempt.ts";
import { needsOf, place } from "./placement.ts";
import { type RunToolDeps, runCall, runCallForAMoment } from "./run-tool.ts";
import { sandboxQueue } from "./session-sandbox.ts";

interface PlannedStep {
  readonly request: StepRequest;
  readonly agent: Agent | undefined;
  readonly calls: readonly PlannedCall[];
}

export interface CallsHere {
  /** Calls that are left to activities of their own. */
  readonly left: readonly PlannedCall[];
  readonly ranTools: boolean;
  /** Something in the artifact folders may be new. */
  readonly artifacts: boolean;
  /** Where the sandbox is, when that is elsewhere (and nothing was run here), or not where the workflow believes. */
  readonly queue?: string;
}

/** Quick calls first, in the order the model made them; then the commands, at once, as many as the agent may. */
export async function runCallsHere(
  deps: RunToolDeps,
  { request, agent, calls }: PlannedStep,
  running: RunningAttempt,
): Promise<CallsHere> {
  const { sessionId } = request;
  if (calls.length === 0) return { left: [], ranTools: false, artifacts: false };
  const record = await currentSandbox(deps.store.database, sessionId);
  const queue = await sandboxQueue(deps, record);
  if (queue !== undefined) return { left: calls, ranTools: false, artifacts: false, queue };
  // Another worker may have what the sandbox needs, or the agent's secrets; or nobody, and each call says so by itself.
  const placed = agent && (await place(deps, needsOf(deps, agent, record)));
  if (placed?.at === "elsewhere") return { left: calls, ranTools: false, artifacts: false, queue: placed.queue };
  if (placed?.at === "nowhere") return { left: calls, ranTools: false, artifacts: false };
  const quick = calls.filter((call) => call.quick);
  let artifacts = false;
  for (const { callId } of quick) {
    const result = await runCall(deps, { sessionId, callId }, running);
    artifacts ||= result.artifacts;
  }
  const others = calls.filter((call) => !call.quick);
  const brief = others.filter(({ name, wait }) => !wait && deps.tools.find(name)?.canBeLeft === true);
  const tried = (request.commands ? brief : []).slice(0, agent?.limits.toolsInParallel ?? 1);
  const results = await Promise.all(
    tried.map(async (call) => ({
      call,
      result: await runCallForAMoment(deps, { sessionId, callId: call.callId }, { running, forMs: LIMITS.callHereMs }),
    })),
  );
  const ended = results.flatMap(({ call, result }) => (result && !result.wait ? [{ call, result }] : []));
  const isEnded = new Set(ended.map(({ call }) => call.callId));
  const made = await madeHere(deps, request);
  return {
    ...(made !== undefined && { queue: made }),
    left: others.filter(({ callId }) => !isEnded.has(callId)),
    ranTools: quick.length > 0 || ended.length > 0,
    artifacts: artifacts || ended.some(({ result }) => result.artifacts),
  };
}

/** The queue of this host, when the sandbox was made here because the host that the workflow would ask is gone. */
async function madeHere(
  deps: RunToolDeps,
  { sessionId, sandboxQueue: believed }: StepRequest,
): Promise<string | undefined> {
  const here = hostQueue(deps.store.stack, deps.host);
  if (believed === undefined || believed === here || isOfOneWorker(believed)) return undefined;
  const record = await currentSandbox(deps.store.database, sessionId);
  return record?.host === deps.host ? here : undefined;
}
