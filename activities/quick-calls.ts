/**
 * A step's quick calls, run by the step's own activity: each begun and ended under its own key, like any call.
 *
 * As activities of their own they would cost several times what they do; as local activities they could be neither
 * cancelled nor handed back when their worker dies. Here they have the step's heartbeat, cancel and retry.
 */
import type { SessionId } from "../contract/ids.ts";
import type { PlannedCall } from "../contract/steps.ts";
import type { RunningAttempt } from "./attempt.ts";
import { type RunToolDeps, runCall } from "./run-tool.ts";

/** Runs them in the order the model made them. Says whether any was, and whether artifacts may be new. */
export async function runQuickCalls(
  deps: RunToolDeps,
  step: { readonly sessionId: SessionId; readonly calls: readonly PlannedCall[] },
  running: RunningAttempt,
): Promise<{ readonly ranTools: boolean; readonly artifacts: boolean }> {
  const quick = step.calls.filter((call) => call.quick);
  let artifacts = false;
  for (const { callId } of quick) {
    const result = await runCall(deps, { sessionId: step.sessionId, callId }, running);
    artifacts ||= result.artifacts;
  }
  return { ranTools: quick.length > 0, artifacts };
}
