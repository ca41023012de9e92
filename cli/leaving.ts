/** Ctrl-C of a client command: the first leaves the session, which goes on; the second ends the command at once. */
import { EXIT } from "./exit-codes.ts";

/** One Ctrl-C under npm arrives twice: from the terminal, and handed on by npm. */
const SAME_KEY_MS = 500;

export class Leaving implements Disposable {
  readonly #left = new AbortController();
  #leftAt = 0;
  readonly #onSignal = (): void => {
    if (!this.#left.signal.aborted) {
      this.#leftAt = Date.now();
      this.#left.abort();
    } else if (Date.now() - this.#leftAt > SAME_KEY_MS) {
      process.exit(EXIT.detached);
    }
  };

  constructor() {
    process.on("SIGINT", this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#left.signal;
  }

  [Symbol.dispose](): void {
    process.off("SIGINT", this.#onSignal);
  }
}
