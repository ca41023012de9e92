/** Says what is being waited for, once it takes longer than two seconds: one line that updates on a terminal, else one every ten seconds. */
import type { WriteStream } from "node:tty";

const QUIET_MS = 2_000;
const TERMINAL_EVERY_MS = 1_000;
const PLAIN_EVERY_MS = 10_000;
const CLEAR_LINE = "\r\u001b[2K";

/** What progress is written to: process.stderr, or a test's own. */
export type ProgressOutput = Pick<WriteStream, "write"> & { readonly isTTY?: boolean };

export class Progress implements Disposable {
  readonly #output: ProgressOutput;
  readonly #startedAt = Date.now();
  #text: string;
  #shown = false;
  #timer: NodeJS.Timeout;

  constructor(text: string, output: ProgressOutput) {
    this.#text = text;
    this.#output = output;
    this.#timer = setTimeout(() => this.#show(), QUIET_MS).unref();
  }

  /** Changes what is said from now on. */
  update(text: string): void {
    this.#text = text;
    if (this.#shown) this.#show();
  }

  /** Takes the line away, so that something else can be written. Calling it again changes nothing. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    if (this.#shown && this.#output.isTTY) this.#output.write(CLEAR_LINE);
    this.#shown = false;
  }

  #show(): void {
    clearTimeout(this.#timer);
    this.#shown = true;
    const line = `${this.#text} … ${Math.round((Date.now() - this.#startedAt) / 1_000)} s`;
    this.#output.write(this.#output.isTTY ? CLEAR_LINE + line : `${line}\n`);
    const everyMs = this.#output.isTTY ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS;
    this.#timer = setTimeout(() => this.#show(), everyMs).unref();
  }
}
