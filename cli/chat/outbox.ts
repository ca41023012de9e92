/**
 * What a person wants done, in their order, one after the other, until the API has answered. Each request carries its own
 * id or key, so that one whose answer was lost with its process is sent again and is still done once.
 */
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../../contract/limits.ts";
import { ClientError } from "../client-error.ts";

export interface OutboxListener {
  /** Whether the API is away, and something waits for it. */
  onAway(isAway: boolean): void;
  /** What was given up, or refused without that its sender has dealt with it. */
  onFailed(error: unknown): void;
}

export class Outbox {
  readonly #listener: OutboxListener;
  readonly #signal: AbortSignal;
  #work: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(listener: OutboxListener, signal: AbortSignal) {
    this.#listener = listener;
    this.#signal = signal;
  }

  /** Requests that have no answer yet. */
  get waiting(): number {
    return this.#waiting;
  }

  add(request: () => Promise<void>): void {
    this.#waiting++;
    this.#work = this.#work.then(async () => {
      if (this.#signal.aborted) return;
      try {
        await this.#untilAnswered(request);
        this.#waiting--;
      } catch (error) {
        if (this.#signal.aborted) return;
        this.#waiting--;
        this.#listener.onFailed(error);
      }
    });
  }

  /** Resolves when everything was answered, or the signal aborts. */
  async done(): Promise<void> {
    await this.#work;
  }

  async #untilAnswered(request: () => Promise<void>): Promise<void> {
    const deadline = Date.now() + LIMITS.clientGiveUpMs;
    let pauseMs: number = LIMITS.clientReconnectMs.first;
    for (let isAway = false; ; isAway = true) {
      try {
        await request();
        if (isAway) this.#listener.onAway(false);
        return;
      } catch (error) {
        const mayDoBetter = isAbsence(error) && !this.#signal.aborted && Date.now() + pauseMs < deadline;
        if (!mayDoBetter) {
          if (isAway) this.#listener.onAway(false);
          throw error;
        }
        if (!isAway) this.#listener.onAway(true);
        await delay(pauseMs, undefined, { signal: this.#signal });
        pauseMs = Math.min(pauseMs * 2, LIMITS.clientReconnectMs.max);
      }
    }
  }
}

/** Nobody is there, or what is there lacks something that comes back. */
function isAbsence(error: unknown): boolean {
  return error instanceof ClientError && (error.kind === "unreachable" || error.problem?.status === 503);
}
