/**
 * A chat at a terminal: the session's events above, the line being typed below. The session does not need it: leaving,
 * or dying, at any moment takes nothing from what was sent.
 */
import type { MessageMode, SessionEvent } from "../../contract/events.ts";
import { newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Client } from "../client.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { LiveView } from "../live-view.ts";
import { Screen } from "../screen.ts";
import { type Waiting, waitingText } from "../spinner.ts";
import { createStyle, type Style, wantsColors } from "../style.ts";
import { safeLine } from "../terminal-text.ts";
import { fitted, textWidth } from "../text-width.ts";
import { type Approving, Asking } from "./asking.ts";
import { runCommand } from "./chat-commands.ts";
import { Conversation } from "./conversation.ts";
import { editorOf, editText } from "./edit-text.ts";
import { Keyboard } from "./keyboard.ts";
import { type Key, LineEditor } from "./line-editor.ts";
import { Outbox } from "./outbox.ts";
import type { Recalled } from "./recall.ts";
import { readLine } from "./slash-commands.ts";
import { Terminal } from "./terminal.ts";

export interface LiveChatOptions {
  readonly client: Client;
  readonly sessionId: string;
  /** What was there before; the events behind it are followed. */
  readonly recalled: Recalled;
  /** A first message. */
  readonly first?: string | undefined;
  readonly approving: Approving;
  readonly hasProject: boolean;
  /** The command that comes back to this chat. */
  readonly comeBack: string;
  /** Shorter in tests. */
  readonly typeAheadMs?: number;
}

const TICK_MS = 120;
const MESSAGE_CHARACTERS = 1_000;

export class LiveChat implements Disposable {
  readonly #options: LiveChatOptions;
  readonly #io: Io;
  readonly #style: Style;
  readonly #terminal: Terminal;
  readonly #screen: Screen;
  readonly #view: LiveView;
  readonly #editor = new LineEditor();
  readonly #conversation = new Conversation();
  readonly #asking: Asking;
  readonly #outbox: Outbox;
  readonly #keyboard: Keyboard;
  readonly #left = new AbortController();
  readonly #tick: NodeJS.Timeout;
  #waiting: Waiting | undefined;
  #trouble: string | undefined;
  #isAway = false;
  #isEditing = false;
  #stoppedAt = Number.NEGATIVE_INFINITY;
  #exitCode: number = EXIT.completed;

  constructor(io: Io, options: LiveChatOptions) {
    this.#io = io;
    this.#options = options;
    this.#style = createStyle(wantsColors(io.stdout.isTTY === true, io.env));
    this.#terminal = new Terminal(io.stdout);
    this.#screen = this.#createScreen();
    this.#view = new LiveView(this.#screen, {
      asksHere: options.approving !== "never",
      columns: this.#terminal.columns,
    });
    this.#outbox = new Outbox(
      {
        onAway: (isAway) => {
          this.#isAway = isAway;
          this.#draw();
        },
        onFailed: (error) => this.#complain(error),
      },
      this.#left.signal,
    );
    this.#asking = this.#createAsking();
    this.#keyboard = new Keyboard(io.stdin, io.stdout, {
      onKey: (key) => this.#onKey(key),
      onPaste: (text) => this.#onPaste(text),
      onEnd: () => this.#leave(EXIT.completed),
    });
    this.#tick = setInterval(() => this.#conversation.isBusy && this.#draw(), TICK_MS).unref();
    process.on("SIGINT", this.#onSignal);
    process.on("SIGTERM", this.#onTermination);
    process.on("SIGHUP", this.#onTermination);
  }

  /** Until somebody leaves or the session is closed; the answer is the exit code. */
  async run(): Promise<number> {
    const { client, sessionId, recalled, first } = this.#options;
    this.#greet(recalled);
    if (first !== undefined) this.#post(first, this.#conversation.isBusy ? "steer" : "queue");
    this.#refresh();
    const onConnection = (connection: { readonly state: string; readonly reason?: string }): void => {
      this.#trouble =
        connection.state === "lost" ? `the connection is lost (${connection.reason}); coming back` : undefined;
      this.#draw();
    };
    // The API was there a moment ago: it is not given up before it has opened the stream, either.
    const { clientGiveUpMs: giveUpMs } = LIMITS;
    const follows = { after: recalled.after, signal: this.#left.signal, onConnection, giveUpMs };
    for await (const { event } of client.events(sessionId, follows)) {
      if (event) this.#take(event);
    }
    return this.#exitCode;
  }

  [Symbol.dispose](): void {
    this.#left.abort();
    clearInterval(this.#tick);
    process.off("SIGINT", this.#onSignal);
    process.off("SIGTERM", this.#onTermination);
    process.off("SIGHUP", this.#onTermination);
    this.#keyboard[Symbol.dispose]();
    this.#screen.endLine();
    this.#terminal[Symbol.dispose]();
    if (this.#conversation.isClosed) return;
    const { waiting } = this.#outbox;
    if (waiting > 0) this.#io.stderr.write(`not sent: what you said last (${waiting})\n`);
    const { sessionId, comeBack } = this.#options;
    this.#io.stderr.write(`left session ${sessionId}, which goes on; come back with: ${comeBack}\n`);
  }

  readonly #onSignal = (): void => {
    if (!this.#isEditing) this.#interrupt();
  };

  readonly #onTermination = (): void => this.#leave(EXIT.detached);

  #createScreen(): Screen {
    const waitingLine = {
      say: (waiting: Waiting | undefined): void => {
        this.#waiting = waiting;
      },
      clear: (): void => undefined,
      [Symbol.dispose]: (): void => undefined,
    };
    const stdout = { write: (text: string): void => this.#terminal.write(text) };
    return new Screen({ stdout, stderr: stdout, style: this.#style, waitingLine });
  }

  #createAsking(): Asking {
    const { client, sessionId, approving, hasProject, typeAheadMs = LIMITS.chatTypeAheadMs } = this.#options;
    const options = { client, sessionId, conversation: this.#conversation, approving, hasProject, typeAheadMs };
    return new Asking(options, {
      editor: this.#editor,
      say: (text) => this.#say(text),
      showAsk: (ask) =>
        ask.type === "question.asked" ? this.#view.waits.question(ask) : this.#view.waits.approval(ask),
      showArguments: (args) => this.#view.waits.arguments(args, LIMITS.shownArgumentRows.max),
      edit: (text) => this.#edit(text),
      send: (request) => this.#outbox.add(request),
      changed: () => this.#refresh(),
    });
  }

  #greet({ lines, events }: Recalled): void {
    const { sessionId } = this.#options;
    this.#say(
      `session ${sessionId} · Enter sends; while a turn runs it joins at the next step (/queue, /interrupt to choose)`,
    );
    this.#say("Ctrl-C stops the turn, twice leaves · /help says more");
    for (const line of lines) this.#screen.line(line.isDim ? this.#style("dim", line.text) : line.text);
    for (const { event, isShown } of events) {
      this.#conversation.take(event);
      if (isShown) this.#view.show(event);
    }
    // Not as they come by: what was decided since must not be decided again.
    for (const ask of this.#conversation.asks) this.#asking.take(ask);
  }

  #take(event: SessionEvent): void {
    this.#conversation.take(event);
    this.#asking.take(event);
    this.#view.show(event);
    this.#refresh();
  }

  #onKey(key: Key): void {
    if (key.ctrl && key.name === "c") {
      this.#interrupt();
      return;
    }
    if (key.ctrl && key.name === "d") {
      if (this.#editor.isEmpty) this.#leave(EXIT.completed);
      return;
    }
    const { dialog } = this.#asking;
    const takesKeys = dialog !== undefined && !dialog.takesLine;
    if (takesKeys && key.sequence === "/") {
      this.#asking.putAside();
      this.#editor.insert("/");
    } else if (takesKeys || (dialog && key.name === "escape")) {
      this.#asking.press(key);
    } else if (key.name === "return" && !key.meta) {
      this.#submit(this.#editor.take());
    } else {
      this.#editor.press(key);
    }
    this.#refresh();
  }

  #onPaste(text: string): void {
    const { dialog } = this.#asking;
    if (dialog && !dialog.takesLine) return; // Nobody decides by pasting.
    this.#editor.insert(text);
    this.#refresh();
  }

  #submit(line: string): void {
    const { dialog } = this.#asking;
    const isCommand = dialog?.ask.type === "question.asked" && /^\/(?!later\b)\w/.test(line.trim());
    if (dialog && !isCommand) {
      this.#asking.submit(line);
      return;
    }
    const read = readLine(line);
    switch (read.type) {
      case "nothing":
        break;
      case "mistake":
        this.#say(safeLine(read.words, MESSAGE_CHARACTERS));
        break;
      case "message":
        this.#post(read.text, read.mode ?? (this.#conversation.isBusy ? "steer" : "queue"));
        break;
      case "command":
        this.#run(read.name, read.rest);
        break;
    }
  }

  #run(name: Parameters<typeof runCommand>[1], rest: string): void {
    const { client, sessionId, comeBack } = this.#options;
    const stage = {
      ...{ client, sessionId, comeBack },
      say: (text: string) => this.#say(text),
      leave: () => this.#leave(EXIT.completed),
      stop: () => this.#stop(),
      askAll: () => this.#asking.askAll(),
    };
    runCommand(stage, name, rest)
      .catch((error: unknown) => this.#complain(error))
      .finally(() => this.#refresh());
  }

  #post(content: string, mode: MessageMode): void {
    if (Buffer.byteLength(content) > LIMITS.messageBytesMax) {
      this.#say(`the text is too long: a message holds at most ${LIMITS.messageBytesMax} bytes`);
      return;
    }
    const message = { content, mode, id: newId("msg") };
    const { client, sessionId } = this.#options;
    this.#outbox.add(async () => {
      await client.postMessage(sessionId, message, this.#left.signal);
    });
  }

  #interrupt(): void {
    const isSecond = Date.now() - this.#stoppedAt < LIMITS.chatLeaveMs;
    const isBusy = this.#conversation.isBusy || this.#outbox.waiting > 0;
    const isTyping = !this.#editor.isEmpty && !this.#asking.dialog;
    if (isSecond || (!isBusy && !isTyping)) {
      this.#leave(EXIT.detached);
      return;
    }
    this.#stoppedAt = Date.now();
    if (isBusy) {
      this.#say("stopping the turn; Ctrl-C again leaves");
      this.#stop().catch((error: unknown) => this.#complain(error));
    } else {
      this.#editor.set("");
      this.#say("Ctrl-C again leaves");
    }
    this.#refresh();
  }

  async #stop(): Promise<void> {
    const { interrupted, message } = await this.#options.client.interrupt(this.#options.sessionId);
    if (!interrupted) this.#say(safeLine(message, MESSAGE_CHARACTERS));
  }

  #leave(exitCode: number): void {
    this.#exitCode = exitCode;
    if (exitCode === EXIT.detached || this.#outbox.waiting === 0) {
      this.#left.abort();
      return;
    }
    this.#say("leaving as soon as the API has what you said; Ctrl-C leaves at once");
    this.#stoppedAt = Number.POSITIVE_INFINITY; // From now on, one Ctrl-C is the second.
    void this.#outbox.done().then(() => this.#left.abort());
  }

  #edit(text: string): Promise<string> | undefined {
    const editor = editorOf(this.#io.env);
    if (editor === undefined) return undefined;
    this.#isEditing = true;
    this.#terminal.show(undefined);
    this.#keyboard.pause();
    return editText(text, editor).finally(() => {
      this.#isEditing = false;
      this.#keyboard.resume();
    });
  }

  #complain(error: unknown): void {
    const words = error instanceof Error ? error.message : String(error);
    this.#screen.line(this.#style("red", `✗ ${safeLine(words, MESSAGE_CHARACTERS)}`));
  }

  /** A line of the chat itself. */
  #say(text: string): void {
    this.#screen.line(this.#style("dim", safeLine(text, MESSAGE_CHARACTERS)));
  }

  #refresh(): void {
    this.#asking.openNext();
    this.#draw();
  }

  #draw(): void {
    if (this.#left.signal.aborted || this.#isEditing) return;
    const { dialog } = this.#asking;
    const dim = (text: string): string => this.#style("dim", text);
    const rows = [this.#status(), dialog?.hint ?? this.#waitingAsks()].filter((text) => text !== undefined);
    const label = fitted(dialog?.label ?? "› ", Math.floor(this.#terminal.columns / 2));
    const labelStyle = (text: string): string => this.#style(dialog ? ["yellow", "bold"] : "bold", text);
    const { line, cursor } = this.#editor.view(this.#terminal.columns - 1 - textWidth(label));
    this.#terminal.show({
      ...{ rows: rows.map((text) => ({ text, style: dim })), label, labelStyle, line },
      cursor: textWidth(label) + cursor,
    });
  }

  #status(): string | undefined {
    if (this.#isAway) return "the API is away: what you said is sent as soon as it is back";
    if (this.#trouble !== undefined) return safeLine(this.#trouble, MESSAGE_CHARACTERS);
    return this.#conversation.isBusy && this.#waiting ? waitingText(this.#waiting, Date.now()) : undefined;
  }

  #waitingAsks(): string | undefined {
    const { waiting } = this.#asking;
    if (waiting === 0) return undefined;
    return this.#editor.isEmpty
      ? `${waiting} put off: /approvals asks`
      : `${waiting} to decide: send or clear your line first`;
  }
}
