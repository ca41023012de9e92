/** What a call or a command has left to be told besides its output: files that changed, hosts that it wanted to reach. */
import type { CallId, SessionId, TurnId } from "../contract/ids.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import { publishFileChanges } from "./file-changes.ts";
import { publishNetworkDecisions } from "./network-events.ts";
import type { SandboxDeps } from "./session-sandbox.ts";

export interface Traces {
  readonly sessionId: SessionId;
  readonly sandbox: Sandbox;
  readonly turnId?: TurnId;
  readonly callId?: CallId;
}

/** Before the result is committed, so that whoever sees it has seen these. A sandbox that is gone by then has none. */
export async function publishTraces(deps: SandboxDeps, traces: Traces): Promise<void> {
  try {
    const { sessionId, sandbox, turnId, callId } = traces;
    await Promise.all([
      publishFileChanges(deps, { sessionId, sandbox, ...(turnId && { turnId }), ...(callId && { callId }) }),
      publishNetworkDecisions(deps, sessionId, sandbox),
    ]);
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
  }
}
