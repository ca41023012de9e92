/** Removes everything that is kept of a closed session: its sandbox, its rows, its artifacts. */
import { atSandbox } from "./at-sandbox.ts";
import type { WorkspaceKey } from "./messages.ts";

export async function purgeSession(input: WorkspaceKey): Promise<void> {
  await atSandbox((activities) => activities.purgeSession(input));
}
