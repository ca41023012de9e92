/**
 * A terminal whose upper part scrolls, and whose last rows stay: what is waited for, a hint, and the line being typed.
 * All of one change is one write, so that nothing flickers and nothing of the two parts is ever mixed.
 */
import { columnAfter, fitted } from "../text-width.ts";

export interface TerminalOutput {
  write(text: string): unknown;
  readonly columns?: number;
}

/** The rows at the bottom. Styled parts are given apart, because styles have no width. */
export interface Bottom {
  readonly rows: readonly { readonly text: string; readonly style: (text: string) => string }[];
  readonly label: string;
  readonly labelStyle: (text: string) => string;
  /** The visible part of the line that is typed, and the column of the cursor in it. */
  readonly line: string;
  readonly cursor: number;
}

const COLUMNS_DEFAULT = 80;
const CLEAR_BELOW = "\u001b[J";
const up = (rows: number): string => (rows > 0 ? `\u001b[${rows}A` : "");
const toColumn = (column: number): string => `\u001b[${column + 1}G`;

export class Terminal implements Disposable {
  readonly #output: TerminalOutput;
  #bottom: Bottom | undefined;
  /** Rows of the bottom that are on the screen now. */
  #shownRows = 0;
  /** Where the text above ends: 0 when the next one begins a row. */
  #column = 0;
  /** What is to be written when the terminal is ours again. */
  #held: string[] | undefined;

  constructor(output: TerminalOutput) {
    this.#output = output;
  }

  get columns(): number {
    return Math.max(20, this.#output.columns ?? COLUMNS_DEFAULT);
  }

  /** Writes above the bottom. The text is trusted: make it safe before. */
  write(text: string): void {
    if (this.#held) {
      this.#held.push(text);
      return;
    }
    const plain = text.replaceAll("\t", "    ");
    const gone = this.#gone();
    const column = columnAfter(this.#column, plain, this.columns);
    // A row that is exactly full is left: its terminal has not moved the cursor yet, and nobody could come back to it.
    const isFull = column === this.columns;
    this.#column = isFull ? 0 : column;
    this.#output.write(gone + plain + (isFull ? "\n" : "") + this.#drawn());
  }

  /** Shows another bottom; undefined takes it away. */
  show(bottom: Bottom | undefined): void {
    const gone = this.#gone();
    this.#bottom = bottom;
    this.#output.write(gone + this.#drawn());
  }

  /** Leaves the terminal to another program. */
  hold(): void {
    this.show(undefined);
    this.#held ??= [];
  }

  release(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held && held.length > 0) this.write(held.join(""));
  }

  [Symbol.dispose](): void {
    this.show(undefined);
  }

  /** What takes the bottom away and puts the cursor behind the text above. */
  #gone(): string {
    if (this.#shownRows === 0) return "";
    const above = this.#column > 0 ? 1 : 0;
    const back = above > 0 ? up(above) + toColumn(this.#column) : "";
    const text = `${up(this.#shownRows - 1)}\r${CLEAR_BELOW}${back}`;
    this.#shownRows = 0;
    return text;
  }

  #drawn(): string {
    if (!this.#bottom) return "";
    const { rows, label, labelStyle, line, cursor } = this.#bottom;
    const columns = this.columns - 1;
    this.#shownRows = rows.length + 1;
    const drawn = rows.map(({ text, style }) => `${style(fitted(text, columns))}\n`).join("");
    return `${this.#column > 0 ? "\n" : ""}${drawn}${labelStyle(label)}${line}${toColumn(cursor)}`;
  }
}
