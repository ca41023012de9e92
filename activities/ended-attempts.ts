/**
 * Forgets the rows of attempts that have ended, a while after their end: until then the next worker would hand them back, should
 * this one die before Temporal has heard of the end. One timer for all of a worker, so that no step pays for it.
 */

import { type Attempt, ENDED_KEPT_MS, forgetEnded, recordEnd } from "../store/attempts.ts";
import type { Database } from "../store/database.ts";

/** Tries in a row that may fail; then it waits for the next end. */
const TRIES_MAX = 30;

export class EndedAttempts {
  readonly #everyMs: number;
  /** Their ends could not be written, such as to a full disk. */
  readonly #owed = new Set<Attempt>();
  #timer: NodeJS.Timeout | undefined;

  constructor(everyMs: number = ENDED_KEPT_MS) {
    this.#everyMs = everyMs;
  }

  /** The end of this one is still to be written. */
  owe(attempt: Attempt): void {
    this.#owed.add(attempt);
  }

  /** Some attempts of this process have ended just now. */
  forgetLater(database: Database, process: string): void {
    this.#timer ??= this.#in(() => this.#forget({ database, process }, 1));
  }

  async #forget(of: { readonly database: Database; readonly process: string }, tries: number): Promise<void> {
    // Until the row count is known: one that ends meanwhile is counted, or finds no timer and begins one.
    this.#timer = undefined;
    const left = await this.#settle(of).catch(() => undefined);
    if (left === 0 || (left === undefined && tries >= TRIES_MAX)) return;
    this.#timer ??= this.#in(() => this.#forget(of, left === undefined ? tries + 1 : 1));
  }

  async #settle({ database, process }: { readonly database: Database; readonly process: string }): Promise<number> {
    for (const attempt of this.#owed) {
      await recordEnd(database, attempt);
      this.#owed.delete(attempt);
    }
    return await forgetEnded(database, process);
  }

  #in(work: () => Promise<void>): NodeJS.Timeout {
    return setTimeout(() => void work(), this.#everyMs).unref();
  }
}
