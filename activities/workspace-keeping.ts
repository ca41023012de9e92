/** Keeps a workspace, or says in the log that it cannot be kept: what can never succeed is not tried over and over. */
import { log } from "@temporalio/activity";
import type { SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import { SupersededError } from "../store/error.ts";
import type { SandboxRecord } from "../store/sandboxes.ts";
import { noteUnkept, type UnkeptReason } from "../store/unkept-workspaces.ts";
import { type SnapshotDeps, takeSnapshot } from "./snapshot-take.ts";

export interface Keeping {
  readonly sessionId: SessionId;
  readonly sandbox: Sandbox;
  readonly record: SandboxRecord;
  readonly turnId?: TurnId | undefined;
  /** Of the activity. */
  readonly attempt: number;
}

/** For who does not try again. */
export const ATTEMPTS_LAST = LIMITS.attemptsBeside;

/** False: it cannot be kept, which is said. Throws what another attempt may overcome, and what is over. */
export async function keepWorkspace(deps: SnapshotDeps, keeping: Keeping): Promise<boolean> {
  const { sessionId, sandbox, record, turnId, attempt } = keeping;
  try {
    await takeSnapshot(deps, { sessionId, sandbox, sandboxId: sandbox.id, generation: record.generation, turnId });
    return true;
  } catch (error) {
    const reason = finalReason(error, attempt);
    if (reason === undefined) throw error;
    const message = error instanceof Error ? error.message : String(error);
    log.warn("the workspace was not kept", { sessionId, reason, error: message });
    await noteUnkept(deps.store.database, record, { sessionId, turnId, reason, message });
    return false;
  }
}

function finalReason(error: unknown, attempt: number): UnkeptReason | undefined {
  if (error instanceof SupersededError) return undefined;
  if (!(error instanceof SandboxError)) return attempt >= ATTEMPTS_LAST ? "failed" : undefined;
  if (error.kind === "lost") return undefined;
  // The sandbox itself has said no: the next turn's end asks again, and an idle stop waits for that.
  return error.kind === "too_large" ? "too_large" : "failed";
}
