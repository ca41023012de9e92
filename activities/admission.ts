/** Work on a session that only this stack may ask for, and only for the session that has the id now: see store/tickets.ts. */
import { Context } from "@temporalio/activity";
import type { SessionId } from "../contract/ids.ts";
import type { OwnWorkflow } from "../contract/workflow-ids.ts";
import type { Store } from "../store/store.ts";
import { type AttemptDeps, attempted, type RunningAttempt } from "./attempt.ts";

export interface SessionKey {
  readonly sessionId: SessionId;
  readonly ticket?: string;
}

export interface AdmissionDeps extends AttemptDeps {
  readonly store: Pick<Store, "tickets" | "database">;
}

/** An attempt of that work. Undefined: the session is gone, and nothing was done. */
export function admitted<T>(
  deps: AdmissionDeps,
  asked: { readonly key: SessionKey; readonly kinds: readonly OwnWorkflow[] },
  work: (running: RunningAttempt) => Promise<T>,
): Promise<T | undefined> {
  return attempted(deps, async (running) => {
    const { workflowId = "" } = Context.current().info.workflowExecution ?? {};
    return (await deps.store.tickets.admit(asked.key, asked.kinds, workflowId)) ? await work(running) : undefined;
  });
}
