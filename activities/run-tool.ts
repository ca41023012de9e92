/** One tool call: begun once, re-attached as often as it takes, ended once with a result that the model can be shown. */
import { ToolName } from "../contract/agents.ts";
import type { CallId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CallKey, CallResult } from "../contract/steps.ts";
import { SandboxError } from "../sandbox/provider.ts";
import { type BegunCall, beginCall, endCall, noteIntent, publishOutput } from "../store/calls.ts";
import { parseArguments, TOOLS } from "../tools/registry.ts";
import type { Tool, ToolResult } from "../tools/tool.ts";
import { hasNewArtifacts } from "./artifact-scan.ts";
import { attempted, type RunningAttempt, type WorkerIdentity } from "./attempt.ts";
import { OutputPublisher } from "./output-publisher.ts";
import { openSandbox, type SandboxDeps } from "./session-sandbox.ts";

export interface RunToolDeps extends SandboxDeps {
  readonly identity: WorkerIdentity;
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
  const tool: Tool = TOOLS[ToolName.parse(call.name)];
  const signal = AbortSignal.any([running.signal, lost.signal]);
  // Superseded, or this worker goes down: then the tool leaves what it started to the next attempt.
  const isStopped = (): boolean => running.isStopped() && !lost.signal.aborted;
  const result = await runTool(deps, begun, { tool, publisher, signal, isStopped });
  if (lost.signal.aborted) throw lost.signal.reason;
  if (running.signal.aborted && !running.isStopped()) throw new Error("this worker goes down");
  const facts = await publisher.end();
  await endCall(database, begun, {
    outcome: result.outcome,
    text: bounded(result.text),
    facts,
    attempt: running.attempt,
  });
  const artifacts = tool.changesFiles && (await hasNewArtifacts(deps, call.session_id));
  return { outcome: result.outcome, artifacts };
}

async function runTool(
  deps: RunToolDeps,
  begun: BegunCall,
  io: {
    readonly tool: Tool;
    readonly publisher: OutputPublisher;
    readonly signal: AbortSignal;
    readonly isStopped: () => boolean;
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
      callId: call.id as CallId,
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
