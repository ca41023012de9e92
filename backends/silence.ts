/** Aborts a request to which nothing was said for too long, before the headers too; or too much that says nothing. */
import { LIMITS } from "../contract/limits.ts";
import { BackendError } from "./backend.ts";

export class SilenceGuard {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #limitMs: number;
  #unread = 0;
  #isFlooded = false;

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

  /** Bytes have come, perhaps of an event that is not whole yet, or of none: comments come from the gateway and not from the model. */
  heard(bytes: number): void {
    this.#unread += bytes;
    if (this.#unread <= LIMITS.replyCharactersMax) return;
    this.#isFlooded = true;
    this.#controller.abort();
  }

  /** An event was read. */
  eventRead(): void {
    this.#timer.refresh();
    this.#unread = 0;
  }

  /** More of an event has come that is not whole yet. */
  eventGrew(): void {
    this.#timer.refresh();
  }

  /** @param origin Where the provider is, as shown to people. */
  error(origin: string): BackendError {
    if (this.#isFlooded) {
      const message = `the model provider at ${origin} sent over ${LIMITS.replyCharactersMax} bytes without the end of an event; it was stopped`;
      return new BackendError("INVALID_RESPONSE", message);
    }
    return new BackendError("TIMEOUT", `nothing came from the model provider at ${origin} for ${this.#limitMs} ms`);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
