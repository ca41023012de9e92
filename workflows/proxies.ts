/** How this workflow calls its activities: every retry, timeout and kind of cancel is set here and nowhere else. */
import { ActivityCancellationType, proxyActivities, proxyLocalActivities } from "@temporalio/workflow";
import type { Activities } from "../activities/index.ts";
import { LIMITS } from "../contract/limits.ts";

/**
 * Attempts are not counted here: a lost worker must not use up a model's tries. Activities count their own failures in
 * the store, and answer with one as a value when there is no more to try.
 */
export const retry = { initialInterval: 10, backoffCoefficient: 2, maximumInterval: 1_000 };

/** Model calls and commands: heartbeats tell a dead worker, and a cancel waits until the work has really ended. */
export const remote = proxyActivities<Activities>({
  startToCloseTimeout: LIMITS.activityTimeoutMs,
  heartbeatTimeout: LIMITS.heartbeatTimeoutMs,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry,
});

/**
 * What goes on beside a turn, or cleans up behind it. The turn's end waits for it, so it cannot be tried for ever: what
 * fails so often fails by itself, and not for a lost worker.
 */
export const beside = proxyActivities<Activities>({
  startToCloseTimeout: LIMITS.activityTimeoutMs,
  heartbeatTimeout: LIMITS.heartbeatTimeoutMs,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: { ...retry, maximumAttempts: LIMITS.attemptsBeside },
});

/** Mere commits. Safe to repeat with their workflow task, because what they commit is found again under its key. */
export const local = proxyLocalActivities<Activities>({ startToCloseTimeout: LIMITS.quickActivityTimeoutMs, retry });
