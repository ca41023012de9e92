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
import { type Approving, Asking } from "./asking.ts";
import { runCommand } from "./chat-commands.ts";
import { ChatScreen } from "./chat-screen.ts";
import { Conversation } from "./conversation.ts";
import { editorOf, editText } from "./edit-text.ts";
import { Keyboard } from "./keyboard.ts";
import { type Key, LineEditor } from "./line-editor.ts";
import { Outbox } from "./outbox.ts";
import type { Recalled } from "./recall.ts";
import { readLine } from "./slash-commands.ts";

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

export class LiveChat implements Disposable {
  readonly #options: LiveChatOptions;
  readonly #io: Io;
  readonly #screen: ChatScreen;
  readonly #editor = new LineEditor();
  readonly #conversation = new Conversation();
  readonly #asking: Asking;
  readonly #outbox: Outbox;
  readonly #keyboard: Keyboard;
  readonly #left = new AbortController();
  readonly #tick: NodeJS.Timeout;
  #trouble: string | undefined;
  #isAway = false;
  #isEditing = false;
  #stoppedAt = Number.NEGATIVE_INFINITY;
  #exitCode: number = EXIT.completed;

  constructor(io: Io, options: LiveChatOptions) {
    this.#io = io;
    this.#options = options;
    this.#screen = new ChatScreen(io, { asksHere: options.approving !== "never" });
    this.#outbox = new Outbox(
      {
        onAway: (isAway) => {
          this.#isAway = isAway;
          this.#draw();
        },
        onFailed: (error) => this.#screen.complain(error),
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
    this.#screen[Symbol.dispose]();
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

  #createAsking(): Asking {
    const { client, sessionId, approving, hasProject, typeAheadMs = LIMITS.chatTypeAheadMs } = this.#options;
    const options = { client, sessionId, conversation: this.#conversation, approving, hasProject, typeAheadMs };
    return new Asking(options, {
      editor: this.#editor,
      say: (text) => this.#screen.say(text),
      showAsk: (ask) => this.#screen.showAsk(ask),
      showArguments: (args) => this.#screen.showArguments(args),
      edit: (text) => this.#edit(text),
      send: (request) => this.#outbox.add(request),
      changed: () => this.#refresh(),
    });
  }

  #greet({ lines, events }: Recalled): void {
    const { sessionId } = this.#options;
    this.#screen.say(`session ${sessionId} · /help says what there is`);
    this.#screen.say("while a turn runs, a line joins its next step (/queue, /interrupt to choose)");
    this.#screen.say("Ctrl-C stops the turn, twice leaves; the session goes on");
    for (const line of lines) this.#screen.recall(line.text, line.isDim);
    for (const { event, isShown } of events) {
      this.#conversation.take(event);
      if (isShown) this.#screen.show(event);
    }
    // Not as they come by: what was decided since must not be decided again.
    for (const ask of this.#conversation.asks) this.#asking.take(ask);
  }

  #take(event: SessionEvent): void {
    this.#conversation.take(event);
    this.#asking.take(event);
    this.#screen.show(event);
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
        this.#screen.say(read.words);
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
      say: (text: string) => this.#screen.say(text),
      leave: () => this.#leave(EXIT.completed),
      stop: () => this.#stop(),
      askAll: () => this.#asking.askAll(),
    };
    runCommand(stage, name, rest)
      .catch((error: unknown) => this.#screen.complain(error))
      .finally(() => this.#refresh());
  }

  #post(content: string, mode: MessageMode): void {
    if (Buffer.byteLength(content) > LIMITS.messageBytesMax) {
      this.#screen.say(`the text is too long: a message holds at most ${LIMITS.messageBytesMax} bytes`);
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
      this.#screen.say("stopping the turn; Ctrl-C again leaves");
      this.#stop().catch((error: unknown) => this.#screen.complain(error));
    } else {
      this.#editor.set("");
      this.#screen.say("Ctrl-C again leaves");
    }
    this.#refresh();
  }

  async #stop(): Promise<void> {
    const { interrupted, message } = await this.#options.client.interrupt(this.#options.sessionId);
    if (!interrupted) this.#screen.say(message);
  }

  #leave(exitCode: number): void {
    this.#exitCode = exitCode;
    if (exitCode === EXIT.detached || this.#outbox.waiting === 0) {
      this.#left.abort();
      return;
    }
    this.#screen.say("leaving as soon as the API has what you said; Ctrl-C leaves at once");
    this.#stoppedAt = Number.POSITIVE_INFINITY; // From now on, one Ctrl-C is the second.
    void this.#outbox.done().then(() => this.#left.abort());
  }

  #edit(text: string): Promise<string> | undefined {
    const editor = editorOf(this.#io.env);
    if (editor === undefined) return undefined;
    this.#isEditing = true;
    this.#screen.hold();
    this.#keyboard.pause();
    return editText(text, editor).finally(() => {
      this.#isEditing = false;
      this.#keyboard.resume();
      this.#screen.release();
    });
  }

  #refresh(): void {
    this.#asking.openNext();
    this.#draw();
  }

  #draw(): void {
    if (this.#left.signal.aborted) return;
    this.#screen.draw({
      editor: this.#editor,
      dialog: this.#asking.dialog,
      isBusy: this.#conversation.isBusy,
      trouble: this.#isAway ? "the API is away: what you said is sent as soon as it is back" : this.#trouble,
      hint: this.#hint(),
    });
  }

  #hint(): string | undefined {
    const { putOff, held } = this.#asking;
    if (held > 0) return `${held} to decide: send or clear your line first`;
    return putOff > 0 ? `${putOff} put off: /approvals asks` : undefined;
  }
}
