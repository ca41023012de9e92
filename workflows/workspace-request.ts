/** A look into a live workspace, or a write to it: a short workflow of its own, so that the session's history does not grow with it. */
import { proxyActivities } from "@temporalio/workflow";
import type { Activities } from "../activities/index.ts";
import { LIMITS } from "../contract/limits.ts";
import type { WorkspaceAnswer, WorkspaceRequest } from "../contract/workspace.ts";

const { serveWorkspace } = proxyActivities<Activities>({
  startToCloseTimeout: LIMITS.quickActivityTimeoutMs,
  retry: { initialInterval: 100, maximumAttempts: 5 },
});

export async function workspaceRequest(request: WorkspaceRequest): Promise<WorkspaceAnswer> {
  return await serveWorkspace(request);
}
