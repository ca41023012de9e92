/** How this workflow calls its activities: every retry, timeout and kind of cancel is set here and nowhere else. */
import {
  ActivityCancellationType,
  type ActivityInterfaceFor,
  type ActivityOptions,
  proxyActivities,
  proxyLocalActivities,
  workflowInfo,
} from "@temporalio/workflow";
import type { Activities } from "../activities/index.ts";
import { LIMITS } from "../contract/limits.ts";
import { kindQueue, type WorkKind } from "../contract/task-queue.ts";
import type { SessionInput } from "./messages.ts";
import { KIND_OF } from "./work-kinds.ts";

export type Reachable = ActivityInterfaceFor<Activities>;

/**
 * Attempts are not counted here: a lost worker must not use up a model's tries. Activities count their own failures in
 * the store, and answer with one as a value when there is no more to try.
 */
const retry = { initialInterval: 10, backoffCoefficient: 2, maximumInterval: 1_000 };

/** Heartbeats tell a dead worker, and a cancel waits until the work has really ended. */
const lasting: ActivityOptions = {
  startToCloseTimeout: LIMITS.activityTimeoutMs,
  heartbeatTimeout: LIMITS.heartbeatTimeoutMs,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry,
};

export interface Asked {
  /** The workers that are asked; without it, all of the stack's. */
  readonly queue?: string | undefined;
  /** Another kind of work than the activity's own. */
  readonly kind?: WorkKind | undefined;
  /** Of each attempt: how long those workers are waited for. */
  readonly startWithinMs?: number | undefined;
}

/** Model calls and commands. */
export function remoteAt(asked: Asked): Reachable {
  return byKind(lasting, asked);
}

/**
 * What goes on beside a turn, or cleans up behind it. The turn's end waits for it, so it cannot be tried for ever: what
 * fails so often fails by itself, and not for a lost worker.
 */
export function besideAt(asked: Asked): Reachable {
  return byKind({ ...lasting, retry: { ...retry, maximumAttempts: LIMITS.attemptsBeside } }, asked);
}

export const beside = besideAt({});

type Commit = "recoverSession" | "endTurn" | "expireWait";

/** Safe to repeat, because what they commit is found again under its key. */
const brief = byKind(
  { startToCloseTimeout: LIMITS.quickActivityTimeoutMs, heartbeatTimeout: LIMITS.heartbeatTimeoutMs, retry },
  {},
);

/** Of runs that began before 0.4. */
const local = proxyLocalActivities<Activities>({ startToCloseTimeout: LIMITS.quickActivityTimeoutMs, retry });

/**
 * Mere commits. They were local activities before 0.4; but the SDK can end a workflow's task between the end of one and its
 * use, when the worker's event loop was blocked, and an update that comes just then stands in a history that no worker can
 * replay (decision 0026).
 */
export function commit<N extends Commit>(
  { recovers }: Pick<SessionInput, "recovers">,
  name: N,
  asked: { readonly summary: string; readonly of: Parameters<Activities[N]>[0] },
): ReturnType<Activities[N]> {
  const { executeWithOptions } = (recovers ? brief : local)[name];
  const execute = executeWithOptions as (options: object, args: readonly unknown[]) => unknown;
  return execute({ summary: asked.summary }, [asked.of]) as ReturnType<Activities[N]>;
}

/** Each activity goes to the queue of its kind. */
function byKind(options: ActivityOptions, { queue, kind, startWithinMs }: Asked): Reachable {
  return new Proxy({} as Reachable, {
    get: (_, name: string) => {
      const base = queue ?? workflowInfo().taskQueue;
      const own = Object.hasOwn(KIND_OF, name) ? KIND_OF[name as keyof Activities] : "upkeep";
      const taskQueue = kindQueue(base, own === "upkeep" ? own : (kind ?? own));
      const within = startWithinMs === undefined ? {} : { scheduleToStartTimeout: startWithinMs };
      return proxyActivities<Activities>({ ...options, ...within, taskQueue })[name as keyof Activities];
    },
  });
}
