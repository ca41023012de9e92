/** The schedule by which sandboxes that no session owns are removed: one for all workers, made by the first. */
import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from "@temporalio/client";
import { LIMITS } from "../contract/limits.ts";
import { stackQueue } from "../contract/task-queue.ts";

/** No client can name a session so. */
export function sweepId(stack: string): string {
  return `perdure:sweep:${stack}`;
}

/** `SWEEP_WORKFLOW` of workflows/messages.ts; workflow code is given to a worker by path, not imported. */
const WORKFLOW = "sweepSandboxes";

/** One that is there is left as it is, so that an operator may change its pace or pause it. */
export async function ensureSweeps(client: Client, stack: string): Promise<void> {
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
        workflowExecutionTimeout: LIMITS.sweepTimeoutMs,
      },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}
