/** Work that is done again and again, never twice at once: what nobody else did is found by looking for it. */
export class Reconciler implements Disposable {
  readonly #work: () => Promise<void>;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(work: () => Promise<void>, onError: (error: unknown) => void) {
    this.#work = work;
    this.#onError = onError;
  }

  /** What runs now, for whoever waits for its end. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  start(everyMs: number): void {
    this.#timer ??= setInterval(() => this.#beat(), everyMs);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    this.#running ??= this.#work()
      .catch(this.#onError)
      .finally(() => {
        this.#running = undefined;
      });
  }
}
