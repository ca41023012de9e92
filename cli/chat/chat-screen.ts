/** What a chat shows: the session's events and the chat's own words above, what waits and the typed line at the bottom. */
import type { SessionEvent } from "../../contract/events.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Io } from "../io.ts";
import { LiveView } from "../live-view.ts";
import { Screen } from "../screen.ts";
import { type Waiting, waitingText } from "../spinner.ts";
import { createStyle, type Style, wantsColors } from "../style.ts";
import { safeLine } from "../terminal-text.ts";
import { fitted, textWidth } from "../text-width.ts";
import type { Ask, Dialog } from "./dialogs.ts";
import type { LineEditor } from "./line-editor.ts";
import { Terminal } from "./terminal.ts";

export interface ChatBottom {
  readonly editor: LineEditor;
  readonly dialog: Dialog | undefined;
  /** A turn runs, so that what it waits for is told. */
  readonly isBusy: boolean;
  /** What hinders; told instead. */
  readonly trouble: string | undefined;
  /** Told when there is no dialog. */
  readonly hint: string | undefined;
}

const MESSAGE_CHARACTERS = 1_000;
const PROMPT = "› ";

export class ChatScreen implements Disposable {
  readonly #style: Style;
  readonly #terminal: Terminal;
  readonly #screen: Screen;
  readonly #view: LiveView;
  #waiting: Waiting | undefined;
  #isHeld = false;

  constructor(io: Io, { asksHere }: { readonly asksHere: boolean }) {
    this.#style = createStyle(wantsColors(io.stdout.isTTY === true, io.env));
    this.#terminal = new Terminal(io.stdout);
    const stdout = { write: (text: string): void => this.#terminal.write(text) };
    const waitingLine = {
      say: (waiting: Waiting | undefined): void => {
        this.#waiting = waiting;
      },
      clear: (): void => undefined,
      [Symbol.dispose]: (): void => undefined,
    };
    this.#screen = new Screen({ stdout, stderr: stdout, style: this.#style, waitingLine });
    this.#view = new LiveView(this.#screen, { asksHere, columns: this.#terminal.columns });
  }

  show(event: SessionEvent): void {
    this.#view.show(event);
  }

  showAsk(ask: Ask): void {
    if (ask.type === "question.asked") this.#view.waits.question(ask);
    else this.#view.waits.approval(ask);
  }

  showArguments(args: unknown): void {
    this.#view.waits.arguments(args, LIMITS.shownArgumentRows.max);
  }

  /** A line of the chat itself. */
  say(text: string): void {
    this.#screen.line(this.#style("dim", safeLine(text, MESSAGE_CHARACTERS)));
  }

  /** A line of what was said before. */
  recall(text: string, isDim: boolean): void {
    const line = safeLine(text, MESSAGE_CHARACTERS);
    this.#screen.line(isDim ? this.#style("dim", line) : line);
  }

  complain(error: unknown): void {
    const words = error instanceof Error ? error.message : String(error);
    this.#screen.line(this.#style("red", `✗ ${safeLine(words, MESSAGE_CHARACTERS)}`));
  }

  draw(bottom: ChatBottom): void {
    if (this.#isHeld) return;
    const { dialog, editor } = bottom;
    const dim = (text: string): string => this.#style("dim", text);
    const rows = [this.#status(bottom), dialog?.hint ?? bottom.hint].filter((text) => text !== undefined);
    const label = fitted(dialog?.label ?? PROMPT, Math.floor(this.#terminal.columns / 2));
    const labelStyle = (text: string): string => this.#style(dialog ? ["yellow", "bold"] : "bold", text);
    const { line, cursor } = editor.view(this.#terminal.columns - 1 - textWidth(label));
    const at = textWidth(label) + cursor;
    this.#terminal.show({ rows: rows.map((text) => ({ text, style: dim })), label, labelStyle, line, cursor: at });
  }

  /** Leaves the terminal to another program; what is shown meanwhile appears after it. */
  hold(): void {
    this.#isHeld = true;
    this.#terminal.hold();
  }

  release(): void {
    this.#isHeld = false;
    this.#terminal.release();
  }

  [Symbol.dispose](): void {
    this.#terminal.release();
    this.#screen.endLine();
    this.#terminal[Symbol.dispose]();
  }

  #status({ isBusy, trouble }: ChatBottom): string | undefined {
    if (trouble !== undefined) return safeLine(trouble, MESSAGE_CHARACTERS);
    return isBusy && this.#waiting ? waitingText(this.#waiting, Date.now()) : undefined;
  }
}
