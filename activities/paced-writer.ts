/** Writes what gathers in batches: soon at first, then at a pace, in order, and nothing more once a batch is lost. */

export interface PacedWriterOptions<Batch> {
  /** Before the first batch, so that what comes and ends at once needs no batch of its own. */
  readonly firstMs: number;
  /** Between batches. */
  readonly everyMs: number;
  /** Takes what has gathered; undefined when there is nothing. */
  readonly take: () => Batch | undefined;
  readonly write: (batch: Batch) => Promise<void>;
  /** Told once, when a batch could not be written: whoever gathers must then stop, and nothing after it is written. */
  readonly onLost: (error: unknown) => void;
}

export class PacedWriter<Batch> implements Disposable {
  readonly #options: PacedWriterOptions<Batch>;
  #timer: NodeJS.Timeout | undefined;
  #lastFlush = 0;
  #flushing: Promise<void> = Promise.resolve();
  #ended = false;
  #lost: { readonly error: unknown } | undefined;

  constructor(options: PacedWriterOptions<Batch>) {
    this.#options = options;
  }

  /** False once it has ended or lost a batch: what gathers then is for nobody. */
  get isOpen(): boolean {
    return !this.#ended && this.#lost === undefined;
  }

  schedule(): void {
    const wait = this.#lastFlush + this.#options.everyMs - Date.now();
    this.#timer ??= setTimeout(() => this.flush(), Math.max(wait, this.#options.firstMs));
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#ended) return;
    const batch = this.#options.take();
    if (batch === undefined) return;
    this.#lastFlush = Date.now();
    this.#flushing = this.#flushing.then(() => this.#write(batch));
  }

  /** Ends it and waits for what is being written. Throws when a batch was lost: what is committed then would follow a gap. */
  async end(): Promise<void> {
    this[Symbol.dispose]();
    await this.#flushing;
    if (this.#lost) throw this.#lost.error;
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  async #write(batch: Batch): Promise<void> {
    if (this.#lost) return;
    try {
      await this.#options.write(batch);
    } catch (error) {
      this.#lost = { error };
      this.#options.onLost(error);
    }
  }
}
