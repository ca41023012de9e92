/** The schedule by which sandboxes that no session owns are removed: one for all workers, made by the first. */
import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from "@temporalio/client";
import { LIMITS } from "../contract/limits.ts";
import { TASK_QUEUE } from "../contract/task-queue.ts";

const SCHEDULE_ID = "perdure-sandbox-sweep";
/** `SWEEP_WORKFLOW` of workflows/messages.ts; workflow code is given to a worker by path, not imported. */
const WORKFLOW = "sweepSandboxes";

/** One that is there is left as it is, so that an operator may change its pace or pause it. */
export async function ensureSweeps(client: Client): Promise<void> {
  try {
    await client.schedule.create({
      scheduleId: SCHEDULE_ID,
      spec: { intervals: [{ every: LIMITS.sweepEveryMs }] },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: LIMITS.sweepEveryMs },
      action: {
        type: "startWorkflow",
        workflowType: WORKFLOW,
        workflowId: SCHEDULE_ID,
        taskQueue: TASK_QUEUE,
        workflowExecutionTimeout: LIMITS.sweepTimeoutMs,
      },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}
