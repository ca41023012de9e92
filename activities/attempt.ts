/** One attempt of an activity: its heartbeats, its row among the running attempts, and why it was told to stop. */
import { ApplicationFailure, CancelledFailure, Context } from "@temporalio/activity";
import { LIMITS } from "../contract/limits.ts";
import { type Attempt, recordEnd } from "../store/attempts.ts";
import type { Database } from "../store/database.ts";
import { StoreError, SupersededError, TakenOverError } from "../store/error.ts";
import type { WorksHere } from "./works-here.ts";

/** The worker process that attempts run in. */
export interface WorkerIdentity {
  readonly host: string;
  readonly process: string;
}

export interface AttemptDeps {
  readonly identity: WorkerIdentity;
  readonly store: { readonly database: Database };
  /** What runs in this process, so that an attempt that comes after a silence goes on with it. */
  readonly works: WorksHere;
}

export interface RunningAttempt {
  /** To be registered in the transaction that begins the work; undefined in a local activity. */
  readonly attempt: Attempt | undefined;
  /** Aborts on a stop, on the worker's shutdown, and when Temporal has no use for this work any more. */
  readonly signal: AbortSignal;
  /** Whether somebody asked for the stop; false when merely this worker is done with it, and another attempt will follow. */
  isStopped(): boolean;
}

/**
 * Runs an activity's work with heartbeats, which tell Temporal that this worker lives and tell us of a cancel.
 * The store's failures are retried by Temporal; a superseded attempt is over, whatever it was about to say.
 */
export async function attempted<T>(deps: AttemptDeps, work: (running: RunningAttempt) => Promise<T>): Promise<T> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(), LIMITS.heartbeatEveryMs);
  try {
    return await deps.works.run(context, ownAttempt(context, deps.identity), {
      work: (running) => work(running).catch((error: unknown) => Promise.reject(toFailure(error, running))),
      moved: (from, to) => recordEnd(deps.store.database, from, to),
      ended: async (attempts, how) => {
        await endRows(deps, attempts, how);
        deps.works.ended.forgetLater(deps.store.database, deps.identity.process);
      },
    });
  } finally {
    clearInterval(beat);
  }
}

/**
 * The same for a mere commit. As a local activity, which it was before 0.4, it has no heartbeat, no row and no cancel: its
 * workflow task brings it back when the worker dies.
 */
export async function attemptedBriefly<T>(deps: AttemptDeps, work: () => Promise<T>): Promise<T> {
  const { info, cancellationSignal } = Context.current();
  if (!info.isLocal) return await attempted(deps, work);
  const running: RunningAttempt = { attempt: undefined, signal: cancellationSignal, isStopped: () => false };
  try {
    return await work();
  } catch (error) {
    throw toFailure(error, running);
  }
}

function ownAttempt({ info }: Context, { host, process }: WorkerIdentity): Attempt {
  const place = {
    activity: `${info.workflowExecution?.runId}/${info.activityId}`,
    number: info.attempt,
    at: info.currentAttemptScheduledTimestampMs,
  };
  return { taskToken: info.base64TaskToken, host, process, place };
}

/** No attempt's row outlives its work for long, however that ends. What counts is the work: a full disk does not fail it here. */
async function endRows(
  { store, works }: AttemptDeps,
  attempts: readonly Attempt[],
  how: "well" | "failed",
): Promise<void> {
  for (const attempt of attempts) {
    // The transaction that was to end it may have come to nothing.
    const mayBeOpen = how === "well" ? attempt.isOpen === true : attempt.isOpen !== undefined;
    if (mayBeOpen) await recordEnd(store.database, attempt).catch(() => works.ended.owe(attempt));
  }
}

function toFailure(error: unknown, running: RunningAttempt): unknown {
  if (running.isStopped()) return new CancelledFailure("the turn was stopped");
  if (running.signal.aborted) {
    const { reason } = running.signal;
    const message = reason instanceof Error ? reason.message : String(reason);
    return ApplicationFailure.create({ type: "WorkerShutdown", message, nextRetryDelay: 1 });
  }
  // Nothing is wrong with the work, which another attempt has. Should Temporal take this one for the newest, it asks again.
  if (error instanceof TakenOverError) {
    return ApplicationFailure.create({ type: "TakenOver", message: error.message, nextRetryDelay: 500 });
  }
  if (error instanceof SupersededError) return ApplicationFailure.nonRetryable(error.message, "Superseded");
  if (error instanceof StoreError) return ApplicationFailure.retryable(error.message, `Store.${error.kind}`);
  return error;
}
