/**
 * Where what touches a session's sandbox is done: by any worker, or by those of the host that it lives on.
 *
 * An activity that finds the sandbox on another host fails at once and names that host's task queue; from then on it is asked
 * first. A host whose workers take nothing for a minute is left, and whoever is asked next finds the sandbox lost.
 */
import {
  ActivityCancellationType,
  ActivityFailure,
  type ActivityInterfaceFor,
  ApplicationFailure,
  proxyActivities,
  TimeoutFailure,
} from "@temporalio/workflow";
import type { Activities } from "../activities/index.ts";
import { LIMITS } from "../contract/limits.ts";
import { beside, remote, retry } from "./proxies.ts";

/** `ELSEWHERE` of the contract: its file imports schemas, which are not for workflow code. */
const ELSEWHERE = "Elsewhere";
/** Moves of one piece of work between hosts, after which it fails. */
const MOVES_MAX = 20;

type Reachable = ActivityInterfaceFor<Activities>;

export class SandboxRoute {
  #queue: string | undefined;
  readonly #changed: (queue: string | undefined) => void;

  /** `changed` is told of the queue to begin with after continue-as-new. */
  constructor(queue?: string, changed: (queue: string | undefined) => void = () => undefined) {
    this.#queue = queue;
    this.#changed = changed;
  }

  /** Another has learned where the sandbox is. */
  move(queue: string | undefined): void {
    if (queue === this.#queue) return;
    this.#queue = queue;
    this.#changed(queue);
  }

  /** Tool calls: they are tried for ever, and a cancel waits until they have really ended. */
  run<T>(work: (activities: Reachable) => Promise<T>): Promise<T> {
    return this.#try(work, (queue) => (queue === undefined ? remote : onHost(queue)));
  }

  /** What goes on beside a turn or between two: tried a bounded number of times. */
  runBeside<T>(work: (activities: Reachable) => Promise<T>): Promise<T> {
    return this.#try(work, (queue) => (queue === undefined ? beside : onHost(queue, LIMITS.attemptsBeside)));
  }

  async #try<T>(
    work: (activities: Reachable) => Promise<T>,
    activities: (queue: string | undefined) => Reachable,
  ): Promise<T> {
    for (let moves = 0; ; moves++) {
      const queue = this.#queue;
      try {
        return await work(activities(queue));
      } catch (error) {
        if (moves >= MOVES_MAX) throw error;
        const next = elsewhere(error);
        if (next !== undefined) this.move(next);
        else if (queue !== undefined && nobodyCame(error)) this.move(undefined);
        else throw error;
      }
    }
  }
}

function onHost(taskQueue: string, maximumAttempts?: number): Reachable {
  return proxyActivities<Activities>({
    taskQueue,
    startToCloseTimeout: LIMITS.activityTimeoutMs,
    heartbeatTimeout: LIMITS.heartbeatTimeoutMs,
    // Of each attempt: how long a silent host is waited for.
    scheduleToStartTimeout: LIMITS.hostGoneMs,
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: maximumAttempts === undefined ? retry : { ...retry, maximumAttempts },
  });
}

function elsewhere(error: unknown): string | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  if (!(cause instanceof ApplicationFailure) || cause.type !== ELSEWHERE) return undefined;
  const [queue] = cause.details ?? [];
  return typeof queue === "string" ? queue : undefined;
}

function nobodyCame(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof TimeoutFailure && cause.timeoutType === "SCHEDULE_TO_START";
}
