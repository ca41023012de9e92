/** The schedule by which sandboxes that no session owns are removed: one for all workers, made by the first. */
import { type Client, ScheduleAlreadyRunning, ScheduleNotFoundError, ScheduleOverlapPolicy } from "@temporalio/client";
import { LIMITS } from "../contract/limits.ts";
import { stackQueue } from "../contract/task-queue.ts";
import { ownWorkflowId } from "../contract/workflow-ids.ts";
import { isFromOld, leaveOld } from "../store/installation.ts";
import type { Store } from "../store/store.ts";

export function sweepId(stack: string): string {
  return ownWorkflowId("sweep", "sandboxes", stack);
}

/** `SWEEP_WORKFLOW` of workflows/messages.ts; workflow code is given to a worker by path, not imported. */
const WORKFLOW = "sweepSandboxes";

/** One that is there is left as it is, so that an operator may change its pace or pause it. */
export async function ensureSweeps(client: Client, store: Store): Promise<void> {
  await removeOld(client, store);
  const { stack } = store;
  const id = sweepId(stack);
  try {
    await client.schedule.create({
      scheduleId: id,
      spec: { intervals: [{ every: LIMITS.sweepEveryMs }] },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: LIMITS.sweepEveryMs },
      action: {
        type: "startWorkflow",
        workflowType: WORKFLOW,
        workflowId: id,
        taskQueue: stackQueue(stack),
        args: [{ ticket: store.tickets.ofStack("sweep") }],
        workflowExecutionTimeout: LIMITS.sweepTimeoutMs,
      },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}

/** Of versions before 0.4: it starts sweeps on their queue, and without a ticket. */
const OLD_SCHEDULE = "perdure-sandbox-sweep";

async function removeOld(client: Client, { database }: Store): Promise<void> {
  if (!(await isFromOld(database))) return;
  try {
    await client.schedule.getHandle(OLD_SCHEDULE).delete();
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error;
  }
  await leaveOld(database);
}
