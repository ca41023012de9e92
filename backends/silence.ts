/** Aborts a request of which nothing was heard for too long; before the headers too. */
import { BackendError } from "./backend.ts";

export class SilenceGuard {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #limitMs: number;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
    this.#timer = setTimeout(() => this.#controller.abort(), limitMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get broken(): boolean {
    return this.#controller.signal.aborted;
  }

  heard(): void {
    this.#timer.refresh();
  }

  /** @param origin Where the provider is, as shown to people. */
  error(origin: string): BackendError {
    return new BackendError("TIMEOUT", `nothing came from the model provider at ${origin} for ${this.#limitMs} ms`);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
