/** What a person sees: text as it streams, whole lines, and the line that says what is being waited for. */
import { Spinner, type SpinnerOutput, type Waiting } from "./spinner.ts";
import type { Style } from "./style.ts";

/** Where the line stands that says what is being waited for. */
export interface WaitingLine extends Disposable {
  say(waiting: Waiting | undefined): void;
  /** Takes it away for what is written now. */
  clear(): void;
}

export interface ScreenOptions {
  readonly stdout: SpinnerOutput;
  /** Gets the spinner, which is no part of the output. */
  readonly stderr: SpinnerOutput;
  /** Instead of the spinner. */
  readonly waitingLine?: WaitingLine;
  readonly style: Style;
}

export class Screen implements Disposable {
  readonly style: Style;
  readonly #stdout: SpinnerOutput;
  readonly #spinner: WaitingLine;
  #waiting: Waiting | undefined;
  #isAtLineStart = true;
  #isBlank = true;

  constructor({ stdout, stderr, style, waitingLine }: ScreenOptions) {
    this.#stdout = stdout;
    this.#spinner = waitingLine ?? new Spinner(stderr);
    this.style = style;
  }

  /** Writes on, on the line that has begun. The text is trusted: make it safe before. */
  text(text: string, format?: Parameters<Style>[0]): void {
    if (text === "") return;
    this.#spinner.clear();
    this.#stdout.write(format ? this.style(format, text) : text);
    this.#isAtLineStart = text.endsWith("\n");
    this.#isBlank = text === "\n" || text.endsWith("\n\n");
    this.#showWaiting();
  }

  /** Writes a line of its own. The text is trusted: make it safe before. */
  line(text: string): void {
    this.endLine();
    this.text(`${text}\n`);
  }

  /** Ends the line that has begun, if one has. */
  endLine(): void {
    if (!this.#isAtLineStart) this.text("\n");
    this.#isBlank = false;
  }

  /** Sets what follows apart by one empty line. */
  gap(): void {
    const wasBlank = this.#isAtLineStart && this.#isBlank;
    if (wasBlank) return;
    this.endLine();
    this.text("\n");
    this.#isBlank = true;
  }

  wait(waiting: Waiting | undefined): void {
    this.#waiting = waiting;
    this.#showWaiting();
  }

  [Symbol.dispose](): void {
    this.#spinner[Symbol.dispose]();
    this.endLine();
  }

  /** Never on a line that has begun on the same terminal: it would be cleared with the spinner. */
  #showWaiting(): void {
    const canShow = this.#isAtLineStart || !this.#stdout.isTTY;
    this.#spinner.say(canShow ? this.#waiting : undefined);
  }
}
