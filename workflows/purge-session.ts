/** Removes everything that is kept of a closed session: its sandbox, its rows, its artifacts. */
import { proxyActivities } from "@temporalio/workflow";
import type { Activities } from "../activities/index.ts";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";

const activities = proxyActivities<Activities>({
  startToCloseTimeout: LIMITS.quickActivityTimeoutMs,
  retry: { initialInterval: 100, maximumInterval: 10_000 },
});

export async function purgeSession(input: { readonly sessionId: SessionId }): Promise<void> {
  await activities.purgeSession(input);
}
