/** The line that a person types: pure text editing by keys, with what was typed before. It knows nothing of a terminal. */
import { graphemes, graphemeWidth, textWidth } from "../text-width.ts";

/** A key as Node's readline tells it. */
export interface Key {
  readonly name?: string | undefined;
  readonly ctrl?: boolean;
  readonly meta?: boolean;
  readonly sequence?: string | undefined;
}

const REMEMBERED_LINES = 200;

export class LineEditor {
  #before: readonly string[] = [];
  #after: readonly string[] = [];
  readonly #history: string[] = [];
  /** Where one is in the history; its length is the line being typed. */
  #place = 0;
  #draft = "";

  get text(): string {
    return [...this.#before, ...this.#after].join("");
  }

  get isEmpty(): boolean {
    return this.#before.length + this.#after.length === 0;
  }

  set(text: string): void {
    this.#before = graphemes(text);
    this.#after = [];
    this.#place = this.#history.length;
  }

  /** Takes the line away, and remembers it. */
  take(): string {
    const { text } = this;
    if (text.trim() !== "" && this.#history.at(-1) !== text) this.#history.push(text);
    if (this.#history.length > REMEMBERED_LINES) this.#history.shift();
    this.set("");
    return text;
  }

  insert(text: string): void {
    this.#before = graphemes(this.#before.join("") + text.replace(/\r\n?/g, "\n"));
  }

  /** Does what the key says. Enter, Ctrl-C and Ctrl-D are the caller's. */
  press(key: Key): void {
    if (key.ctrl) this.#control(key.name);
    else if (key.meta) this.#word(key.name);
    else if (key.name !== undefined && this.#move(key.name)) return;
    else if (isText(key.sequence)) this.insert(key.sequence);
  }

  /** The part of the line that fits, with the cursor in it. Line breaks and tabs are shown as signs. */
  view(columns: number): { readonly line: string; readonly cursor: number } {
    const before = this.#before.map(shown);
    let width = textWidth(before.join(""));
    let from = 0;
    while (width > columns - 1 && from < before.length) width -= graphemeWidth(before[from++] ?? "");
    let line = before.slice(from).join("");
    let used = width;
    for (const grapheme of this.#after.map(shown)) {
      used += graphemeWidth(grapheme);
      if (used > columns) break;
      line += grapheme;
    }
    return { line, cursor: width };
  }

  #control(name = ""): void {
    switch (name) {
      case "a":
        this.#at(0);
        return;
      case "e":
        this.#at(this.#before.length + this.#after.length);
        return;
      case "b":
        this.#at(this.#before.length - 1);
        return;
      case "f":
        this.#at(this.#before.length + 1);
        return;
      case "u":
        this.#before = [];
        return;
      case "k":
        this.#after = [];
        return;
      case "h":
        this.#before = this.#before.slice(0, -1);
        return;
      case "w":
        this.#before = this.#before.slice(0, wordStart(this.#before));
        return;
      case "p":
        this.#recall(-1);
        return;
      case "n":
        this.#recall(1);
        return;
      case "left":
        this.#at(wordStart(this.#before));
        return;
      case "right":
        this.#at(this.#before.length + wordEnd(this.#after));
        return;
    }
  }

  #word(name: string | undefined): void {
    if (name === "b") this.#at(wordStart(this.#before));
    else if (name === "f") this.#at(this.#before.length + wordEnd(this.#after));
    else if (name === "backspace") this.#before = this.#before.slice(0, wordStart(this.#before));
    else if (name === "return" || name === "enter") this.insert("\n");
  }

  #move(name: string): boolean {
    switch (name) {
      case "left":
        this.#at(this.#before.length - 1);
        return true;
      case "right":
        this.#at(this.#before.length + 1);
        return true;
      case "home":
        this.#at(0);
        return true;
      case "end":
        this.#at(this.#before.length + this.#after.length);
        return true;
      case "backspace":
        this.#before = this.#before.slice(0, -1);
        return true;
      case "delete":
        this.#after = this.#after.slice(1);
        return true;
      case "enter": // Ctrl-J; the key Enter is "return".
        this.insert("\n");
        return true;
      case "up":
        this.#recall(-1);
        return true;
      case "down":
        this.#recall(1);
        return true;
      default:
        return false;
    }
  }

  #at(place: number): void {
    const all = [...this.#before, ...this.#after];
    const at = Math.min(Math.max(0, place), all.length);
    this.#before = all.slice(0, at);
    this.#after = all.slice(at);
  }

  #recall(by: -1 | 1): void {
    const place = this.#place + by;
    if (place < 0 || place > this.#history.length) return;
    if (this.#place === this.#history.length) this.#draft = this.text;
    this.#before = graphemes(this.#history[place] ?? this.#draft);
    this.#after = [];
    this.#place = place;
  }
}

/** Keys without a text, such as F5 or an unknown sequence, begin with a control character. */
function isText(sequence: string | undefined): sequence is string {
  return sequence !== undefined && sequence !== "" && !/^\p{Cc}/u.test(sequence);
}

function shown(grapheme: string): string {
  if (grapheme === "\n") return "⏎";
  return /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u.test(grapheme) ? "·" : grapheme;
}

function wordStart(before: readonly string[]): number {
  let at = before.length;
  while (at > 0 && before[at - 1]?.trim() === "") at--;
  while (at > 0 && before[at - 1]?.trim() !== "") at--;
  return at;
}

function wordEnd(after: readonly string[]): number {
  let at = 0;
  while (at < after.length && after[at]?.trim() === "") at++;
  while (at < after.length && after[at]?.trim() !== "") at++;
  return at;
}
