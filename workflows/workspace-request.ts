/** A look into a live workspace, or a write to it: a short workflow of its own, so that the session's history does not grow with it. */
import { movesMuch, type WorkspaceAnswer, type WorkspaceRequest } from "../contract/workspace.ts";
import { atSandbox } from "./at-sandbox.ts";

export async function workspaceRequest(request: WorkspaceRequest): Promise<WorkspaceAnswer> {
  const { operation } = request;
  return await atSandbox(
    (activities) => activities.serveWorkspace.executeWithOptions({ summary: operation }, [request]),
    movesMuch(operation) ? { kind: "transfer" } : {},
  );
}
