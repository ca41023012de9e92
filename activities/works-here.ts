/**
 * The work of this process's attempts, which may last longer than an attempt.
 *
 * Temporal takes an attempt for lost when nothing was heard of it for a while: its worker was frozen, its event loop was
 * blocked, or Temporal itself was away. The work knows nothing of that. So it goes on, and the attempt that Temporal sends
 * next holds it from then on, when it comes to this process; what it started is not begun again. One that comes to another
 * process finds there what is committed, and this work meets SupersededError when it writes. Work that nobody comes for is
 * left after `LIMITS.lapsedWorkMs`, as when a worker goes down.
 */
import { ApplicationFailure, type Context } from "@temporalio/activity";
import { LIMITS } from "../contract/limits.ts";
import { type Attempt, isLate } from "../store/attempts.ts";
import type { RunningAttempt } from "./attempt.ts";
import { EndedAttempts } from "./ended-attempts.ts";

/** The reason of a signal that aborts because its worker ends. */
export const GOES_DOWN = "this worker goes down";

export interface WorkToRun<T> {
  readonly work: (running: RunningAttempt) => Promise<T>;
  /** The work has another attempt from now on. */
  readonly moved: (from: Attempt, to: Attempt) => Promise<void>;
  /** The work is over; these attempts have had it. */
  readonly ended: (attempts: readonly Attempt[], how: "well" | "failed") => Promise<void>;
}

export class WorksHere {
  /** Rows of attempts whose work is over. */
  readonly ended = new EndedAttempts();
  readonly #held = new Map<string, HeldWork>();

  /** Begins the work for an attempt, or goes on with what an earlier one of the same activity has begun here. */
  async run<T>(context: Context, attempt: Attempt, toRun: WorkToRun<T>): Promise<T> {
    const key = attempt.place?.activity ?? attempt.taskToken;
    const before = this.#held.get(key);
    if (before && isLate(attempt, before.attempt.place)) throw takenOver();
    if (before && isLate(before.attempt, attempt.place) && !before.isOver) {
      const from = before.attempt;
      const result = before.hold(context, attempt);
      await toRun.moved(from, attempt).catch(() => undefined); // Should this process die now, Temporal waits for its timeout.
      return (await result) as T; // The same activity's, so of the same kind.
    }
    const held = new HeldWork(context, attempt);
    this.#held.set(key, held);
    return (await held.begin(toRun, () => {
      if (this.#held.get(key) === held) this.#held.delete(key);
    })) as T;
  }
}

class HeldWork {
  #attempt: Attempt;
  readonly #earlier: Attempt[] = [];
  #context: Context;
  readonly #over = new AbortController();
  #result: Promise<unknown> = Promise.resolve();
  /** Rejects for the attempt that holds it, when it does not any more. */
  #letGo: (why: unknown) => void = () => undefined;
  #lapsed: NodeJS.Timeout | undefined;

  constructor(context: Context, attempt: Attempt) {
    this.#context = context;
    this.#attempt = attempt;
  }

  get attempt(): Attempt {
    return this.#attempt;
  }

  /** It was told to end, so nobody goes on with it. */
  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  begin(toRun: WorkToRun<unknown>, settled: () => void): Promise<unknown> {
    const holder = (): Attempt => this.#attempt;
    const running: RunningAttempt = {
      get attempt() {
        return holder();
      },
      signal: this.#over.signal,
      isStopped: () => this.isOver && this.#context.cancellationDetails?.cancelRequested === true,
    };
    const held = this.#hold();
    this.#result = this.#done(toRun, running).finally(() => {
      clearTimeout(this.#lapsed);
      settled();
    });
    this.#result.catch(() => undefined); // Whoever holds it hears; perhaps nobody does.
    return Promise.race([this.#result, held]);
  }

  async #done({ work, ended }: WorkToRun<unknown>, running: RunningAttempt): Promise<unknown> {
    let how: "well" | "failed" = "failed";
    try {
      const result = await work(running);
      how = "well";
      return result;
    } finally {
      await ended([...this.#earlier, this.#attempt], how);
    }
  }

  hold(context: Context, attempt: Attempt): Promise<unknown> {
    this.#letGo(takenOver());
    clearTimeout(this.#lapsed);
    this.#context = context;
    this.#earlier.push(this.#attempt);
    this.#attempt = attempt;
    const held = this.#hold();
    return Promise.race([this.#result, held]);
  }

  /** Never resolves. */
  #hold(): Promise<never> {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined);
    this.#letGo = reject;
    const context = this.#context;
    const { cancellationSignal } = context;
    const onAbort = (): void => {
      if (this.#context === context) this.#aborted(context);
    };
    cancellationSignal.addEventListener("abort", onAbort);
    if (cancellationSignal.aborted) onAbort();
    return promise;
  }

  /** Only what was asked for is a stop. Every other end of an attempt says something of its worker, or of Temporal. */
  #aborted(context: Context): void {
    const details = context.cancellationDetails;
    if (details?.cancelRequested || details?.workerShutdown) {
      this.#over.abort(new Error(details.cancelRequested ? "it was stopped" : GOES_DOWN));
      return;
    }
    this.#letGo(takenOver());
    const silence = "Temporal has not heard of this attempt for too long, and no other came for its work";
    this.#lapsed = setTimeout(() => this.#over.abort(new Error(silence)), LIMITS.lapsedWorkMs);
    this.#lapsed.unref();
  }
}

/** To be tried again, should Temporal not know better: it is never what a workflow sees. */
function takenOver(): ApplicationFailure {
  const message = "Temporal has taken this attempt for lost; another one has its work";
  return ApplicationFailure.create({ type: "TakenOver", message, nextRetryDelay: 500 });
}
