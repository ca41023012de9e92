/** A line that says what is being waited for and since when, on a terminal only; it is gone before anything else is written. */
import { safeLine } from "./terminal-text.ts";

export interface SpinnerOutput {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** What is waited for: since when (for the elapsed time), or until when (for a countdown). */
export interface Waiting {
  readonly text: string;
  readonly since?: number;
  readonly until?: number;
}

const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_MS = 100;
const CLEAR_LINE = "\r\u001b[2K";
/** What is over this fast is not announced. */
const QUIET_MS = 150;
const COLUMNS_DEFAULT = 80;

export class Spinner implements Disposable {
  readonly #output: SpinnerOutput;
  #waiting: Waiting | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isShown = false;
  #quietUntil = 0;

  constructor(output: SpinnerOutput) {
    this.#output = output;
  }

  /** Says this from now on; undefined says nothing. */
  say(waiting: Waiting | undefined): void {
    this.#waiting = waiting;
    this.clear();
    if (!this.#output.isTTY) return;
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS).unref();
  }

  /** Takes the line away; it comes back by itself when nothing has been written for a moment. */
  clear(): void {
    if (this.#isShown) this.#output.write(CLEAR_LINE);
    this.#isShown = false;
    this.#quietUntil = Date.now() + QUIET_MS;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#waiting = undefined;
    this.clear();
  }

  #draw(): void {
    const now = Date.now();
    if (!this.#waiting || now < this.#quietUntil) return;
    const line = safeLine(waitingText(this.#waiting, now), (this.#output.columns ?? COLUMNS_DEFAULT) - 1);
    this.#output.write(CLEAR_LINE + line);
    this.#isShown = true;
  }
}

/** What is waited for, with the sign that something moves. */
export function waitingText(waiting: Waiting, now: number): string {
  return `${FRAMES[Math.floor(now / FRAME_MS) % FRAMES.length] ?? ""} ${wordsOf(waiting, now)}`;
}

function wordsOf({ text, since, until }: Waiting, now: number): string {
  if (until !== undefined) return `${text} in ${seconds(until - now)}`;
  return since === undefined ? text : `${text} ${seconds(now - since)}`;
}

function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1_000).toFixed(1)} s`;
}
