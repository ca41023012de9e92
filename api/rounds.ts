/**
 * Rounds over rows that say something is still to be done: by a cursor, so that every item comes to its turn; a few at once;
 * and what failed only after a pause of its own, in places of its own, so that it never stands before the others.
 */
import { LIMITS } from "../contract/limits.ts";
import { Reconciler } from "./reconciler.ts";

/**
 * done: nothing is left of it for now. failed: it alone, and it is tried again after its pause. away: nothing can be done for
 * anybody right now, such as while Temporal is away; this beat is over, and nothing is held against the item.
 */
export type Tried = "done" | "failed" | "away";

export interface RoundsOptions<Item> {
  /** Items after that name in the order of their names, which are never empty; the first ones for "". */
  readonly after: (name: string, limit: number) => Promise<readonly Item[]>;
  readonly nameOf: (item: Item) => string;
  readonly work: (item: Item) => Promise<Tried>;
  /** The pause after each failure in a row of the same item: doubled from the first up to the most. */
  readonly pauseMs?: { readonly first: number; readonly max: number };
  /** What is done is not looked at again for so long, although it is still found; by default it may be at once. */
  readonly againMs?: number;
  readonly onError: (error: unknown) => void;
}

interface Pause {
  readonly failures: number;
  readonly until: number;
}

export class Rounds<Item> implements AsyncDisposable {
  readonly #options: RoundsOptions<Item>;
  readonly #reconciler: Reconciler;
  readonly #pauses = new Map<string, Pause>();
  readonly #running = new Map<string, Promise<void>>();
  /** Of those, the ones that have failed before. */
  readonly #retrying = new Set<string>();
  #cursor = "";
  #isAway = false;
  #isOver = false;

  constructor(options: RoundsOptions<Item>) {
    this.#options = options;
    this.#reconciler = new Reconciler(() => this.look(), options.onError);
  }

  start(everyMs: number): void {
    this.#reconciler.start(everyMs);
  }

  /** One beat: goes on from where the last one ended, once round at most, and does not wait for what it has begun. */
  async look(): Promise<void> {
    const { after, nameOf } = this.#options;
    this.#isAway = false;
    this.#forget();
    const first = this.#cursor;
    let hasTurned = first === "";
    for (let looked = 0; looked < LIMITS.roundItemsPerBeat && !this.#isOver && !this.#isAway; ) {
      const items = await after(this.#cursor, LIMITS.roundPage);
      for (const item of items) {
        const name = nameOf(item);
        if (hasTurned && first !== "" && name > first) return;
        if (!(await this.#begin(name, item))) return;
        this.#cursor = name;
      }
      looked += items.length;
      if (items.length === LIMITS.roundPage) continue;
      this.#cursor = "";
      if (hasTurned) return;
      hasTurned = true;
    }
  }

  /** Nothing that happened before is held against anybody. */
  again(): void {
    this.#pauses.clear();
  }

  /** Resolves when what runs now has ended. */
  async settled(): Promise<void> {
    await Promise.all([...this.#running.values()]);
  }

  /** Begins nothing any more, and waits for what runs for a while. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#reconciler[Symbol.dispose]();
    await Promise.allSettled([...this.#running.values(), this.#reconciler.running]);
  }

  /** False: this beat is over. */
  async #begin(name: string, item: Item): Promise<boolean> {
    const pause = this.#pauses.get(name);
    if (this.#running.has(name) || (pause && pause.until > Date.now())) return true;
    const hasFailed = (pause?.failures ?? 0) > 0;
    // Those that failed before have places of their own; when these are taken, the next round will come by again.
    if (hasFailed && this.#retrying.size >= LIMITS.roundRetriesAtOnce) return true;
    while (!hasFailed && this.#running.size - this.#retrying.size >= LIMITS.reconcileSessionsAtOnce) {
      await Promise.race([...this.#running.values()]);
      if (this.#isOver || this.#isAway) return false;
    }
    if (this.#isOver || this.#isAway) return false;
    if (hasFailed) this.#retrying.add(name);
    this.#running.set(name, this.#try(name, item));
    return true;
  }

  async #try(name: string, item: Item): Promise<void> {
    let tried: Tried = "failed";
    try {
      tried = await this.#options.work(item);
    } catch (error) {
      this.#options.onError(error);
    }
    this.#note(name, tried);
    this.#running.delete(name);
    this.#retrying.delete(name);
  }

  #note(name: string, tried: Tried): void {
    if (tried === "away") {
      this.#isAway = true;
      return;
    }
    const { pauseMs = LIMITS.roundPauseMs, againMs } = this.#options;
    const failures = tried === "failed" ? (this.#pauses.get(name)?.failures ?? 0) + 1 : 0;
    this.#pauses.delete(name);
    if (failures > 0) {
      const forMs = Math.min(pauseMs.first * 2 ** (failures - 1), pauseMs.max);
      this.#pauses.set(name, { failures, until: Date.now() + forMs });
    } else if (againMs !== undefined) this.#pauses.set(name, { failures: 0, until: Date.now() + againMs });
  }

  /** Pauses of items that were not found any more, and of more items than there is room for. */
  #forget(): void {
    const over = Date.now() - LIMITS.roundPauseKeptMs;
    for (const [name, { until }] of this.#pauses) {
      if (until < over || this.#pauses.size > LIMITS.roundPausesMax) this.#pauses.delete(name);
    }
  }
}
