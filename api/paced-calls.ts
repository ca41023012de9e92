/** Calls that may be made as often as anybody likes, each of which costs something that is bounded: of each kind one at a time, and then one only after a pause. */

/** Of one key. */
interface Pace {
  /** The call that runs, or waits for its time. Whoever comes meanwhile has the same one. */
  next: Promise<void> | undefined;
  /** When the last one was begun. */
  at: number;
}

export class PacedCalls implements Disposable {
  readonly #everyMs: number;
  readonly #paces = new Map<string, Pace>();
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** Makes the call, at once or when its time has come. One that is asked for while another waits is that one; while another runs, it is made after it. */
  async run(key: string, call: () => Promise<void>): Promise<void> {
    const pace = this.#paces.get(key) ?? { next: undefined, at: 0 };
    this.#paces.set(key, pace);
    pace.next ??= this.#make(key, pace, call);
    await pace.next;
  }

  async #make(key: string, pace: Pace, call: () => Promise<void>): Promise<void> {
    const waitMs = pace.at + this.#everyMs - Date.now();
    if (waitMs > 0) await this.#delay(waitMs);
    pace.at = Date.now();
    pace.next = undefined;
    this.#forgetLater(key, pace);
    await call();
  }

  #delay(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#later(resolve, ms);
    });
  }

  #forgetLater(key: string, pace: Pace): void {
    this.#later(() => {
      if (!pace.next && pace.at + this.#everyMs <= Date.now()) this.#paces.delete(key);
    }, this.#everyMs + 1);
  }

  #later(then: () => void, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      then();
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#paces.clear();
  }
}
