/** One tool call: begun once, re-attached as often as it takes, ended once with a result that the model can be shown. */
import type { CallId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CallKey, CallResult } from "../contract/steps.ts";
import { SandboxError } from "../sandbox/provider.ts";
import { askAgain, type BegunCall, beginCall, endCall, noteIntent, publishOutput } from "../store/calls.ts";
import { openWait } from "../store/waits.ts";
import { parseArguments, type Toolbox } from "../tools/registry.ts";
import type { Tool, ToolResult } from "../tools/tool.ts";
import { hasNewArtifacts } from "./artifact-scan.ts";
import { attempted, type RunningAttempt, type WorkerIdentity } from "./attempt.ts";
import { OutputPublisher } from "./output-publisher.ts";
import { openSandbox, type SandboxDeps } from "./session-sandbox.ts";

export interface RunToolDeps extends SandboxDeps {
  readonly identity: WorkerIdentity;
  readonly tools: Toolbox;
}

/** Attempts of one call, lost workers included, after which it is the call itself that kills them. */
const ATTEMPTS_MAX = 100;

export type RunTool = (key: CallKey) => Promise<CallResult>;

export function createRunTool(deps: RunToolDeps): RunTool {
  return (key) => attempted(deps.identity, (running) => runCall(deps, key, running));
}

/** Runs a call for an attempt, or finds its committed outcome. */
export async function runCall(deps: RunToolDeps, key: CallKey, running: RunningAttempt): Promise<CallResult> {
  const begun = await beginCall(deps.store.database, key, running.attempt);
  // What an earlier attempt left in the artifact folders is not known here: the upload will look.
  if (begun.state === "done") return { outcome: begun.outcome, artifacts: true };
  if (begun.state === "waiting") return { outcome: "unknown", artifacts: true, wait: begun.wait };
  return await runBegun(deps, begun, running);
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
  const { environment } = begun.agent;
  const result = await runTool(deps, begun, { tool, publisher, signal, isStopped, environment });
  if (lost.signal.aborted) throw lost.signal.reason;
  // What has its result before the worker is gone has ended; what was merely cut off goes on at another.
  const isCutOff = running.signal.aborted && !running.isStopped() && result.outcome === "interrupted";
  if (isCutOff) throw new Error("this worker goes down");
  // Beside the commit: the tool is done, and what it has left in the artifact folders is there.
  const looked = tool.changesFiles ? hasNewArtifacts(deps, call.session_id, begun.agent.artifacts) : undefined;
  looked?.catch(() => undefined); // It is waited for below, unless the commit fails.
  const facts = await publisher.end();
  await endCall(database, begun, {
    outcome: result.outcome,
    text: bounded(result.text),
    facts,
    attempt: running.attempt,
  });
  return { outcome: result.outcome, artifacts: (await looked) ?? false };
}

/** A tool that no worker had when its session was made is refused there; this one was taken away since. */
async function endMissing(deps: RunToolDeps, begun: BegunCall, running: RunningAttempt): Promise<CallResult> {
  const text = `The tool ${begun.call.name} is not loaded by the worker that was to run it.`;
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

async function runTool(
  deps: RunToolDeps,
  begun: BegunCall,
  io: {
    readonly tool: Tool;
    readonly publisher: OutputPublisher;
    readonly signal: AbortSignal;
    readonly isStopped: () => boolean;
    readonly environment: Readonly<Record<string, string>>;
  },
): Promise<ToolResult> {
  const { call, epoch } = begun;
  const parsed = parseArguments(io.tool, begun.arguments);
  if ("error" in parsed) return { outcome: "error", text: parsed.error };
  if (epoch > ATTEMPTS_MAX)
    return { outcome: "unknown", text: `This call was lost ${ATTEMPTS_MAX} times. What it did is unknown.` };
  try {
    const sandbox = await openSandbox(deps, call.session_id);
    return await io.tool.run(parsed.args, {
      sessionId: call.session_id,
      callId: call.id as CallId,
      environment: io.environment,
      sandbox,
      signal: io.signal,
      isStopped: io.isStopped,
      attempt: epoch,
      published: begun.published,
      output: (stream, text, upTo) => io.publisher.add(stream, text, upTo),
      intent: call.intent ?? undefined,
      noteIntent: (note) => noteIntent(deps.store.database, begun, note),
    });
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    if (error.kind === "lost" && io.tool.replay === "keyed" && epoch > 1) {
      return {
        outcome: "unknown",
        text: `The sandbox was lost while this ran, and what it did is unknown: ${error.message}`,
      };
    }
    return { outcome: "error", text: error.message };
  }
}

/** Tools cut their results themselves, with words; this is the bound that holds whatever they do. */
function bounded(text: string): string {
  return text.length <= LIMITS.toolResultBytes * 2 ? text : `${text.slice(0, LIMITS.toolResultBytes * 2)}\n[cut]`;
}
