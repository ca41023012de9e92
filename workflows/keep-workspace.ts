/** Keeps a workspace soon after a caller has changed it: one workflow per session, however many changes come together. */
import { continueAsNew, setHandler, sleep } from "@temporalio/workflow";
import { LIMITS } from "../contract/limits.ts";
import { atSandbox } from "./at-sandbox.ts";
import { type WorkspaceKey, workspaceChanged } from "./messages.ts";

/** Snapshots of one run; what has changed since the last of them is kept by the next run. */
const ROUNDS_MAX = 100;

export async function keepWorkspace(key: WorkspaceKey): Promise<void> {
  let hasChanged = true;
  setHandler(workspaceChanged, () => {
    hasChanged = true;
  });
  for (let round = 0; hasChanged && round < ROUNDS_MAX; round++) {
    // Others may follow at once; what comes while the snapshot is taken is kept by the next.
    await sleep(LIMITS.keepAfterMs);
    hasChanged = false;
    await atSandbox((activities) =>
      activities.snapshotWorkspace.executeWithOptions({ summary: "snapshot the workspace" }, [key]),
    );
  }
  if (hasChanged) await continueAsNew<typeof keepWorkspace>(key);
}
