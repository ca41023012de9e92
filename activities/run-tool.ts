/** One tool call: begun once, re-attached as often as it takes, ended once with a result that the model can be shown. */

import { cutText } from "../contract/cut-text.ts";
import type { CallId, SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CallKey, CallResult } from "../contract/steps.ts";
import { askAgain, type BegunCall, beginCall, endCall, publishOutput } from "../store/calls.ts";
import { openWait } from "../store/waits.ts";
import type { Toolbox } from "../tools/registry.ts";
import type { Tool } from "../tools/tool.ts";
import { hasNewArtifacts } from "./artifact-scan.ts";
import { type AttemptDeps, attempted, type RunningAttempt } from "./attempt.ts";
import { OutputPublisher } from "./output-publisher.ts";
import { placeCall } from "./place-work.ts";
import { newsOfSandbox } from "./sandbox-news.ts";
import { publishTraces } from "./sandbox-traces.ts";
import { withoutSecrets } from "./secret-choice.ts";
import { requireSandboxHere, type SandboxDeps } from "./session-sandbox.ts";
import { runToolInSandbox } from "./tool-in-sandbox.ts";

export interface RunToolDeps extends SandboxDeps, AttemptDeps {
  readonly store: SandboxDeps["store"];
  readonly tools: Toolbox;
  /** The id by which this worker announces itself. */
  readonly worker?: string;
  /** Closed sessions are deleted after so long; undefined: by whoever deletes them. */
  readonly closedKeptMs?: number | undefined;
}

export type RunTool = (key: CallKey) => Promise<CallResult>;

export function createRunTool(deps: RunToolDeps): RunTool {
  return (key) =>
    attempted(deps, async (running) => {
      await requireSandboxHere(deps, key.sessionId);
      await placeCall(deps, key);
      return await runCall(deps, key, running);
    });
}

/** Runs a call for an attempt, or finds its committed outcome. Whoever calls it has seen that its sandbox is reached from here. */
export async function runCall(deps: RunToolDeps, key: CallKey, running: RunningAttempt): Promise<CallResult> {
  const begun = await beginCall(deps.store.database, key, running.attempt);
  // What an earlier attempt left in the artifact folders is not known here: the upload will look.
  if (begun.state === "done") return { outcome: begun.outcome, artifacts: true };
  if (begun.state === "waiting") return { outcome: "unknown", artifacts: true, wait: begun.wait };
  return await runBegun(deps, begun, running);
}

/** Runs a call of a tool that can be left. undefined: it had not ended after so long, and goes on for another attempt to follow. */
export async function runCallForAMoment(
  deps: RunToolDeps,
  key: CallKey,
  moment: { readonly running: RunningAttempt; readonly forMs: number },
): Promise<CallResult | undefined> {
  const { running } = moment;
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(new Error("the call is left to an attempt of its own")), moment.forMs);
  const signal = AbortSignal.any([running.signal, over.signal]);
  try {
    return await runCall(deps, key, { ...running, signal });
  } catch (error) {
    if (error === over.signal.reason && !running.signal.aborted) return undefined;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function runBegun(deps: RunToolDeps, begun: BegunCall, running: RunningAttempt): Promise<CallResult> {
  const { database } = deps.store;
  const { call } = begun;
  const place = { turnId: call.turn_id as TurnId, step: call.step, callId: call.id as CallId };
  const lost = new AbortController();
  using publisher = new OutputPublisher(
    place,
    (output) => publishOutput(database, begun, output),
    (error) => lost.abort(error),
  );
  const tool = deps.tools.find(call.name);
  if (!tool) return await endMissing(deps, begun, running);
  if (begun.wasRunning && tool.replay === "ask") return await askWhetherAgain(deps, { begun, tool }, running);
  const signal = AbortSignal.any([running.signal, lost.signal]);
  // Superseded, or this worker goes down: then the tool leaves what it started to the next attempt.
  const isStopped = (): boolean => running.isStopped() && !lost.signal.aborted;
  await using ran = await runToolInSandbox(deps, begun, { tool, publisher, signal, isStopped });
  if (lost.signal.aborted) throw lost.signal.reason;
  // What has its result before the worker is gone has ended; what was merely cut off goes on at another.
  const isCutOff = running.signal.aborted && !running.isStopped() && ran.result.outcome === "interrupted";
  if (isCutOff) throw running.signal.reason;
  const sessionId = call.session_id as SessionId;
  const changed = tool.changesFiles && ran.sandbox !== undefined;
  if (ran.sandbox && changed) await publishTraces(deps, { sessionId, sandbox: ran.sandbox, ...place });
  // Beside the commit: the tool is done, and what it has left in the artifact folders is there.
  const looked = changed ? hasNewArtifacts(deps, sessionId, { sandbox: ran.sandbox, agent: begun.agent }) : undefined;
  looked?.catch(() => undefined); // It is waited for below, unless the commit fails.
  const facts = await publisher.end();
  const { outcome, text } = ran.result;
  await endCall(database, begun, {
    outcome,
    text: bounded(withoutSecrets(deps.secrets, text)),
    news: async (tx) => withoutSecrets(deps.secrets, await newsOfSandbox(tx, sessionId)),
    facts,
    attempt: running.attempt,
  });
  return { outcome, artifacts: (await looked) ?? false };
}

/** A tool that no worker had when its session was made is refused there; this one was taken away since. */
async function endMissing(deps: RunToolDeps, begun: BegunCall, running: RunningAttempt): Promise<CallResult> {
  const text = `No worker has had the tool ${begun.call.name} for ${LIMITS.workerWaitMs / 1000} s, where the session's sandbox is.`;
  await endCall(deps.store.database, begun, { outcome: "error", text, facts: [], attempt: running.attempt });
  return { outcome: "error", artifacts: false };
}

/** An attempt was lost while this ran, and its replay rule leaves it to a person whether it may be run again. */
async function askWhetherAgain(
  deps: RunToolDeps,
  of: { readonly begun: BegunCall; readonly tool: Tool },
  running: RunningAttempt,
): Promise<CallResult> {
  const { begun, tool } = of;
  const { call } = begun;
  const { agent } = begun;
  if (agent.approver === "none") {
    const text = "The worker was lost while this ran. What it did is unknown, and nobody can be asked to run it again.";
    await endCall(deps.store.database, begun, { outcome: "unknown", text, facts: [], attempt: running.attempt });
    return { outcome: "unknown", artifacts: true };
  }
  const deadline = Date.now() + agent.limits.approvalTimeoutMs;
  const [declared] = deps.tools.declarations([tool.name]);
  await askAgain(deps.store.database, begun, {
    attempt: running.attempt,
    open: (tx) =>
      openWait(tx, {
        sessionId: call.session_id,
        turnId: call.turn_id as TurnId,
        step: call.step,
        callId: call.id as CallId,
        name: call.name,
        arguments: begun.arguments,
        argumentsHash: call.arguments_hash,
        deadline,
        request: {
          kind: "approval",
          reason: "the worker was lost while this ran: what it did is unknown. Approve to run it again",
          schema: { ...declared?.parameters },
          argumentKinds: { ...tool.argumentKinds },
          changesWorld: tool.changesWorld,
          again: true,
        },
      }),
  });
  return { outcome: "unknown", artifacts: true, wait: { kind: "approval", deadline } };
}

/** Tools cut their results themselves, with words; this is the bound that holds whatever they do. */
function bounded(text: string): string {
  return text.length <= LIMITS.toolResultBytes * 2 ? text : `${cutText(text, LIMITS.toolResultBytes * 2)}\n[cut]`;
}
