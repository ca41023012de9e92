/** Keys as they are pressed, and pasted text as one piece. While it is paused, the terminal is another program's. */
import { emitKeypressEvents } from "node:readline";
import type { Key } from "./line-editor.ts";

/** A terminal's input: process.stdin, or a test's own. */
export interface KeyboardInput extends NodeJS.ReadableStream {
  readonly isTTY?: boolean;
  setRawMode?(mode: boolean): unknown;
}

export interface KeyListener {
  onKey(key: Key): void;
  onPaste(text: string): void;
  /** The terminal is gone. */
  onEnd(): void;
}

const PASTE_ON = "\u001b[?2004h";
const PASTE_OFF = "\u001b[?2004l";

export class Keyboard implements Disposable {
  readonly #input: KeyboardInput;
  readonly #output: { write(text: string): unknown };
  readonly #listener: KeyListener;
  #pasted: string | undefined;
  readonly #onKeypress = (text: string | undefined, key: Key): void => this.#key(text, key);
  readonly #onEnd = (): void => this.#listener.onEnd();

  constructor(input: KeyboardInput, output: { write(text: string): unknown }, listener: KeyListener) {
    this.#input = input;
    this.#output = output;
    this.#listener = listener;
    emitKeypressEvents(input);
    input.on("end", this.#onEnd);
    this.resume();
  }

  resume(): void {
    this.#input.setRawMode?.(true);
    this.#output.write(PASTE_ON);
    this.#input.on("keypress", this.#onKeypress);
    this.#input.resume();
  }

  pause(): void {
    this.#input.off("keypress", this.#onKeypress);
    this.#input.pause();
    this.#output.write(PASTE_OFF);
    this.#input.setRawMode?.(false);
    this.#pasted = undefined;
  }

  [Symbol.dispose](): void {
    this.#input.off("end", this.#onEnd);
    this.pause();
  }

  #key(text: string | undefined, key: Key): void {
    if (key.name === "paste-start") {
      this.#pasted = "";
    } else if (key.name === "paste-end") {
      const pasted = this.#pasted ?? "";
      this.#pasted = undefined;
      this.#listener.onPaste(pasted);
    } else if (this.#pasted !== undefined) {
      this.#pasted += key.sequence ?? text ?? "";
    } else {
      this.#listener.onKey({ ...key, sequence: key.sequence ?? text });
    }
  }
}
