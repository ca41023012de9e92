/** What a sandbox's commands wanted to reach, as events of its session: each once, whoever looks, after whatever restart. */
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type NetworkDecision, type Sandbox, SandboxError } from "../sandbox/provider.ts";
import { appendDecisions, networkOffset } from "../store/network-decisions.ts";
import type { Store } from "../store/store.ts";
import { hostWithoutSecrets, type WorkerSecrets, withoutSecrets } from "./secret-choice.ts";

const QUOTES_A_SECRET = "the host's name holds a secret, so the reason, which may quote it, is left out";

/**
 * Brings what was decided since the last look into the session's log, and gives how many that were. After a command or a
 * call; what is decided in between waits for the next. One look brings about LIMITS.networkDecisionsMax, the next goes on
 * there. A sandbox that is lost meanwhile has nothing to tell; other failures of it are thrown as SandboxError.
 */
export async function publishNetworkDecisions(
  deps: { readonly store: Store; readonly secrets?: WorkerSecrets },
  sessionId: SessionId,
  sandbox: Sandbox,
): Promise<number> {
  const { database } = deps.store;
  let published = 0;
  while (published < LIMITS.networkDecisionsMax) {
    const from = await networkOffset(database, sessionId, sandbox.id);
    if (from === undefined) break;
    const { decisions, next } = await decisionsSince(sandbox, from);
    if (next === from) break;
    // Somebody else is at it: what is left is theirs to bring.
    if (
      !(await appendDecisions(database, sessionId, {
        sandboxId: sandbox.id,
        from,
        next,
        decisions: decisions.map((decision) => toldDecision(deps.secrets, decision)),
      }))
    )
      break;
    published += decisions.length;
  }
  return published;
}

/** A host may be made of anything that a command knows. The reason may quote it, or the beginning of it. */
export function toldDecision(secrets: WorkerSecrets | undefined, decision: NetworkDecision): NetworkDecision {
  const host = hostWithoutSecrets(secrets, decision.host);
  const reason = host === decision.host ? withoutSecrets(secrets, decision.reason) : QUOTES_A_SECRET;
  return { ...decision, host, reason };
}

async function decisionsSince(sandbox: Sandbox, from: number): ReturnType<Sandbox["networkDecisions"]> {
  try {
    return await sandbox.networkDecisions(from);
  } catch (thrown) {
    if (thrown instanceof SandboxError && thrown.kind === "lost") return { decisions: [], next: from };
    throw thrown;
  }
}
