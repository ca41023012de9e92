/** Removes sandboxes that no session owns, on every host that lives and of every provider; started by a schedule. */
import { log, proxyActivities, workflowInfo } from "@temporalio/workflow";
import type { Activities } from "../activities/index.ts";
import type { SweepOrder, Swept } from "../activities/sandbox-upkeep.ts";
import { LIMITS } from "../contract/limits.ts";
import { kindQueue } from "../contract/task-queue.ts";
import { KIND_OF } from "./work-kinds.ts";

const retry = { initialInterval: 1_000, maximumAttempts: 3 };

/** What was removed, and what was stopped because nobody had used it: to be seen in Temporal's UI. */
export async function sweepSandboxes(order?: SweepOrder): Promise<Swept> {
  const { listHostQueues } = proxyActivities<Activities>({
    taskQueue: kindQueue(workflowInfo().taskQueue, KIND_OF.listHostQueues),
    startToCloseTimeout: LIMITS.quickActivityTimeoutMs,
    retry,
  });
  const queues = await listHostQueues();
  const swept = await Promise.all(queues.map((queue) => sweepHost(queue, order)));
  return {
    removed: swept.reduce((sum, one) => sum + one.removed, 0),
    stopped: swept.reduce((sum, one) => sum + one.stopped, 0),
    ids: swept.flatMap(({ ids }) => ids).slice(0, 20),
  };
}

/** A host that does not answer has gone since it was listed, or will be swept the next time. */
async function sweepHost(taskQueue: string, order: SweepOrder | undefined): Promise<Swept> {
  const { sweepSandboxes } = proxyActivities<Activities>({
    taskQueue: kindQueue(taskQueue, KIND_OF.sweepSandboxes),
    startToCloseTimeout: LIMITS.sweepTimeoutMs,
    scheduleToCloseTimeout: LIMITS.sweepTimeoutMs,
    heartbeatTimeout: LIMITS.heartbeatTimeoutMs,
    retry,
  });
  try {
    return await sweepSandboxes(order);
  } catch (error) {
    log.warn("a host was not swept", { taskQueue, error: String(error) });
    return { removed: 0, stopped: 0, ids: [] };
  }
}
