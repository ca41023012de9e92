/** Runs one attempt of a tool in the session's sandbox, and says what is known when that is lost meanwhile. */
import type { CallId, SessionId } from "../contract/ids.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import { type BegunCall, noteGeneration, noteIntent } from "../store/calls.ts";
import { parseArgumentsBy } from "../tools/registry.ts";
import type { Tool, ToolResult } from "../tools/tool.ts";
import { BegunPlace } from "./begun-place.ts";
import { elsewhere } from "./callable-tools.ts";
import type { OutputPublisher } from "./output-publisher.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { callSecrets } from "./secret-choice.ts";
import { openSandbox } from "./session-sandbox.ts";

/** Attempts of one call, lost workers included, after which it is the call itself that kills them. */
const ATTEMPTS_MAX = 100;
/** Sandboxes that one attempt may lose before its tool is told so. */
const SANDBOXES_MAX = 3;

export interface ToolRun {
  readonly tool: Tool;
  readonly publisher: OutputPublisher;
  readonly signal: AbortSignal;
  readonly isStopped: () => boolean;
}

/** What came of it, and the sandbox that it ran in; disposing it gives the handle back. */
export interface RanTool extends AsyncDisposable {
  readonly result: ToolResult;
  readonly sandbox: Sandbox | undefined;
}

export async function runToolInSandbox(deps: RunToolDeps, begun: BegunCall, run: ToolRun): Promise<RanTool> {
  const parsed = await parseArgumentsBy(elsewhere(begun.call.session_id), run.tool, begun.arguments);
  if ("error" in parsed) return ran({ outcome: "error", text: parsed.error });
  if (begun.epoch > ATTEMPTS_MAX) {
    return ran({ outcome: "unknown", text: `This call was lost ${ATTEMPTS_MAX} times. What it did is unknown.` });
  }
  const sessionId = begun.call.session_id as SessionId;
  const { database } = deps.store;
  const note = (generation: number): Promise<void> => noteGeneration(database, begun, generation);
  const place = new BegunPlace({ database, sessionId, epoch: begun.epoch, generation: begun.call.generation, note });
  for (let lost = 0; ; lost++) {
    let sandbox: Sandbox | undefined;
    try {
      sandbox = await openSandbox(deps, sessionId, () => place.leave());
      if (run.tool.replay !== "safe" && (await place.mayHaveRunBefore(sandbox))) return ran(lostInMidRun(), sandbox);
      return ran(await runOnce(deps, begun, { ...run, sandbox, args: parsed.args }), sandbox);
    } catch (error) {
      await sandbox?.[Symbol.asyncDispose]();
      if (!(error instanceof SandboxError)) throw error;
      if (error.kind !== "lost" || lost >= SANDBOXES_MAX) return ran({ outcome: "error", text: error.message });
      // What may be run again is, in the next sandbox; of anything else, what it did is not known.
      if (sandbox && run.tool.replay !== "safe") return ran(lostInMidRun(), await openSandbox(deps, sessionId));
    }
  }
}

async function runOnce(
  deps: RunToolDeps,
  begun: BegunCall,
  run: ToolRun & { readonly sandbox: Sandbox; readonly args: unknown },
): Promise<ToolResult> {
  const { call } = begun;
  return await run.tool.run(run.args, {
    sessionId: call.session_id as SessionId,
    callId: call.id as CallId,
    environment: { ...begun.agent.sandbox?.environment, ...begun.agent.environment },
    secrets: callSecrets(deps.secrets, begun.agent.secrets),
    sandbox: run.sandbox,
    signal: run.signal,
    isStopped: run.isStopped,
    attempt: begun.epoch,
    published: begun.published,
    output: (stream, text, upTo) => run.publisher.add(stream, text, upTo),
    intent: call.intent ?? undefined,
    noteIntent: (note) => noteIntent(deps.store.database, begun, note),
  });
}

function lostInMidRun(): ToolResult {
  const text = "The sandbox was lost while this ran. What it had done by then is unknown, and it was not run again.";
  return { outcome: "unknown", text };
}

function ran(result: ToolResult, sandbox?: Sandbox): RanTool {
  return { result, sandbox, [Symbol.asyncDispose]: async () => await sandbox?.[Symbol.asyncDispose]() };
}
