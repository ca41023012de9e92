/** Ctrl-C of a client command: the first leaves the session, which goes on; the second ends the command at once. */
import { EXIT } from "./exit-codes.ts";

export class Leaving implements Disposable {
  readonly #left = new AbortController();
  readonly #onSignal = (): void => {
    if (this.#left.signal.aborted) process.exit(EXIT.detached);
    this.#left.abort();
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
