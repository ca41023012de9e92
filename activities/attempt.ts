/** One attempt of an activity: its heartbeats, its row among the running attempts, and why it was told to stop. */
import { ApplicationFailure, CancelledFailure, Context } from "@temporalio/activity";
import { LIMITS } from "../contract/limits.ts";
import type { Attempt } from "../store/attempts.ts";
import { StoreError, SupersededError } from "../store/error.ts";

/** The worker process that attempts run in. */
export interface WorkerIdentity {
  readonly host: string;
  readonly process: string;
}

export interface RunningAttempt {
  /** To be registered in the transaction that begins the work; undefined in a local activity. */
  readonly attempt: Attempt | undefined;
  /** Aborts on a cancel of the turn and on the worker's shutdown. */
  readonly signal: AbortSignal;
  /** Whether the turn was stopped; false when only this worker goes down, and another attempt will follow. */
  isStopped(): boolean;
}

/**
 * Runs an activity's work with heartbeats, which tell Temporal that this worker lives and tell us of a cancel.
 * The store's failures are retried by Temporal; a superseded attempt is over, whatever it was about to say.
 */
export async function attempted<T>(
  identity: WorkerIdentity,
  work: (running: RunningAttempt) => Promise<T>,
): Promise<T> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(), LIMITS.heartbeatEveryMs);
  const running: RunningAttempt = {
    attempt: { taskToken: context.info.base64TaskToken, ...identity },
    signal: context.cancellationSignal,
    isStopped: () => context.cancellationSignal.aborted && !isShutdown(context),
  };
  try {
    return await work(running);
  } catch (error) {
    throw toFailure(error, running);
  } finally {
    clearInterval(beat);
  }
}

/** The same for a local activity: no heartbeat, no row, no cancel. Its workflow task brings it back when the worker dies. */
export async function attemptedLocally<T>(work: (running: RunningAttempt) => Promise<T>): Promise<T> {
  const running: RunningAttempt = {
    attempt: undefined,
    signal: Context.current().cancellationSignal,
    isStopped: () => false,
  };
  try {
    return await work(running);
  } catch (error) {
    throw toFailure(error, running);
  }
}

function isShutdown(context: Context): boolean {
  return context.cancellationDetails?.workerShutdown === true && context.cancellationDetails.cancelRequested !== true;
}

function toFailure(error: unknown, running: RunningAttempt): unknown {
  if (running.isStopped()) return new CancelledFailure("the turn was stopped");
  if (running.signal.aborted) {
    return ApplicationFailure.create({ type: "WorkerShutdown", message: "this worker goes down", nextRetryDelay: 1 });
  }
  if (error instanceof SupersededError) return ApplicationFailure.nonRetryable(error.message, "Superseded");
  if (error instanceof StoreError) return ApplicationFailure.retryable(error.message, `Store.${error.kind}`);
  return error;
}
