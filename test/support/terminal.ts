/** A terminal for tests: keys go in, and what a person would see comes out, with wrapping, scrolling and the cursor. */
import { PassThrough } from "node:stream";
import type { Io } from "../../cli/io.ts";
import { graphemes, graphemeWidth } from "../../cli/text-width.ts";

const ESCAPE = "\u001b";
const CONTROL = new RegExp(`(${ESCAPE}\\[[?0-9;]*[A-Za-z])`);

export class TestTerminal {
  readonly columns: number;
  /** Everything that was written, as it came. */
  raw = "";
  readonly #rows: string[][] = [[]];
  #row = 0;
  #column = 0;
  readonly #watchers = new Set<() => void>();
  readonly stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined });
  stderr = "";

  constructor(columns = 80) {
    this.columns = columns;
  }

  io(env: NodeJS.ProcessEnv = {}): Io {
    const { columns } = this;
    const write = (text: string): boolean => {
      this.#write(text);
      return true;
    };
    const told = (text: string | Uint8Array): boolean => {
      this.stderr += String(text);
      return true;
    };
    return {
      stdin: this.stdin,
      stdout: { isTTY: true, columns, write },
      stderr: { isTTY: true, columns, write: told },
      env: { NO_COLOR: "1", ...env },
    };
  }

  type(text: string): void {
    this.stdin.write(text);
  }

  /** A line, and Enter. */
  enter(text: string): void {
    this.type(`${text}\r`);
  }

  /** What is on the screen and above it. */
  get screen(): string {
    return this.#rows.map((row) => row.join("").trimEnd()).join("\n");
  }

  /** The row that the cursor stands in. */
  get cursorRow(): string {
    return (this.#rows[this.#row] ?? []).join("").trimEnd();
  }

  get cursorColumn(): number {
    return this.#column;
  }

  /** Resolves when the screen shows it. */
  until(text: string | RegExp, deadlineMs = 10_000): Promise<void> {
    const isThere = (): boolean => (typeof text === "string" ? this.screen.includes(text) : text.test(this.screen));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${String(text)} did not come:\n${this.screen}`)), deadlineMs);
      const look = (): void => {
        if (!isThere()) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  #write(text: string): void {
    this.raw += text;
    for (const piece of text.split(CONTROL)) {
      if (piece.startsWith(ESCAPE)) this.#control(piece);
      else for (const grapheme of graphemes(piece.replaceAll("\r\n", "\n"))) this.#put(grapheme);
    }
    for (const look of [...this.#watchers]) look();
  }

  #put(grapheme: string): void {
    if (grapheme === "\n") {
      this.#row++;
      this.#column = 0;
    } else if (grapheme === "\r") {
      this.#column = 0;
    } else {
      const width = graphemeWidth(grapheme);
      if (this.#column + width > this.columns) this.#put("\n");
      const row = this.#rowAt(this.#row);
      while (row.length < this.#column) row.push(" ");
      row[this.#column] = grapheme;
      if (width === 2) row[this.#column + 1] = "";
      this.#column += width;
    }
    this.#rowAt(this.#row);
  }

  #control(sequence: string): void {
    const count = Number(/\d+/.exec(sequence)?.[0] ?? 1);
    const column = Math.min(this.#column, this.columns - 1);
    switch (sequence.at(-1)) {
      case "A":
        this.#row = Math.max(0, this.#row - count);
        this.#column = column;
        break;
      case "G":
        this.#column = count - 1;
        break;
      case "J":
        this.#rows.splice(this.#row + 1);
        this.#rowAt(this.#row).splice(column);
        break;
      case "K":
        this.#rowAt(this.#row).splice(0);
        break;
    }
  }

  #rowAt(place: number): string[] {
    while (this.#rows.length <= place) this.#rows.push([]);
    return this.#rows[place] ?? [];
  }
}
