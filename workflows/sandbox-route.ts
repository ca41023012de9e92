/**
 * Where work is done: by any worker, or by those that an activity has named.
 *
 * An activity that finds the sandbox on another host, or that its worker lacks what the work needs, fails at once and names the
 * task queue of those that can do it; from then on they are asked first. When they take nothing for a while they are gone, or
 * have all hands full: any worker is asked again, and knows which.
 */
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from "@temporalio/workflow";
import { LIMITS } from "../contract/limits.ts";
import { isOfOneWorker, type WorkKind } from "../contract/task-queue.ts";
import { type Asked, besideAt, type Reachable, remoteAt } from "./proxies.ts";

/** `ELSEWHERE` of the contract: its file imports schemas, which are not for workflow code. */
const ELSEWHERE = "Elsewhere";
/** Moves of one piece of work, one right after the other, after which it fails. */
const MOVES_MAX = 20;

export interface BesideOptions {
  /** Another kind of work than the activity's own. */
  readonly kind?: WorkKind;
  /** Somebody waits for it, and for nothing else: it may wait for as long as a tool call. */
  readonly isPatient?: boolean;
}

export class SandboxRoute {
  #queue: string | undefined;
  readonly #changed: (queue: string | undefined) => void;

  /** `changed` is told of the queue to begin with after continue-as-new. */
  constructor(queue?: string, changed: (queue: string | undefined) => void = () => undefined) {
    this.#queue = queue;
    this.#changed = changed;
  }

  /** Those that are asked first; undefined: any worker. */
  get queue(): string | undefined {
    return this.#queue;
  }

  /** Another has learned where the work is done. */
  move(queue: string | undefined): void {
    if (queue === this.#queue) return;
    this.#queue = queue;
    // A single worker is not remembered for long: the next one that starts in its place has another queue.
    this.#changed(queue !== undefined && isOfOneWorker(queue) ? undefined : queue);
  }

  /** Steps and tool calls: they are tried for ever, and a cancel waits until they have really ended. */
  run<T>(work: (activities: Reachable) => Promise<T>): Promise<T> {
    return this.#try(work, remoteAt, { silences: LIMITS.busyRounds });
  }

  /** What goes on beside a turn or between two: tried a bounded number of times. */
  runBeside<T>(work: (activities: Reachable) => Promise<T>, options: BesideOptions = {}): Promise<T> {
    const { kind, isPatient = false } = options;
    const silences = isPatient ? LIMITS.busyRounds : LIMITS.busyRoundsBeside;
    return this.#try(work, besideAt, { silences, kind });
  }

  async #try<T>(
    work: (activities: Reachable) => Promise<T>,
    reach: (asked: Asked) => Reachable,
    bounds: { readonly silences: number; readonly kind?: WorkKind | undefined },
  ): Promise<T> {
    for (let moves = 0, silences = 0; ; ) {
      const queue = this.#queue;
      const startWithinMs = queue === undefined ? undefined : patience(queue, silences);
      try {
        return await work(reach({ queue, startWithinMs, kind: bounds.kind }));
      } catch (error) {
        const next = elsewhere(error);
        if (next !== undefined && moves < MOVES_MAX) {
          moves++;
          this.move(next);
        } else if (queue !== undefined && nobodyCame(error) && silences < bounds.silences) {
          silences++;
          moves = 0;
          this.move(undefined);
        } else throw error;
      }
    }
  }
}

/** Twice as long after each silence, so that waiting for busy workers does not fill the history. */
function patience(queue: string, silences: number): number {
  const [first, most] = isOfOneWorker(queue)
    ? [LIMITS.workerGoneMs, LIMITS.hostGoneMs]
    : [LIMITS.hostGoneMs, LIMITS.hostBusyMs];
  return Math.min(first * 2 ** silences, most);
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
