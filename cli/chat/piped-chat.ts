/**
 * A chat without a terminal: each line of the standard input is a message, sent when the turn before it has ended. Nobody
 * is there to be asked, so what asks is approved or left waiting, as was said before.
 */
import { createInterface } from "node:readline";
import type { SessionEvent } from "../../contract/events.ts";
import type { MessageAccepted } from "../../contract/http.ts";
import { newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Client, NewMessage } from "../client.ts";
import { ClientError } from "../client-error.ts";
import { EXIT, EXIT_OF } from "../exit-codes.ts";
import { createScreen } from "../follow.ts";
import type { Io } from "../io.ts";
import { Leaving } from "../leaving.ts";
import { LiveView } from "../live-view.ts";
import { safeJson } from "../terminal-text.ts";
import { UsageError } from "../usage-error.ts";
import type { Approving } from "./asking.ts";
import { Outbox } from "./outbox.ts";

export interface PipedChatOptions {
  readonly client: Client;
  readonly sessionId: string;
  readonly after: number;
  readonly first?: string | undefined;
  readonly approving: Approving;
  readonly json: boolean;
  readonly comeBack: string;
}

/** How one turn ended: an exit code, and whether the next line may be sent. */
interface TurnEnd {
  readonly exitCode: number;
  readonly goesOn: boolean;
}

const STOP = (exitCode: number): TurnEnd => ({ exitCode, goesOn: false });

/** Until the input ends, or a turn does not complete; the answer is the exit code of the last turn. */
export async function pipedChat(io: Io, options: PipedChatOptions): Promise<number> {
  using leaving = new Leaving();
  using screen = createScreen(io);
  const chat = new PipedChat(io, options, { view: new LiveView(screen), signal: leaving.signal });
  let end: TurnEnd = { exitCode: EXIT.completed, goesOn: true };
  for await (const line of linesOf(io, options.first, leaving.signal)) {
    end = await chat.say(line);
    if (!end.goesOn) break;
  }
  await chat.leave();
  if (leaving.signal.aborted) end = STOP(EXIT.detached);
  if (end.goesOn) return end.exitCode;
  screen[Symbol.dispose]();
  const { sessionId, comeBack } = options;
  io.stderr.write(`left session ${sessionId}; what else was to be said was not sent; go on with: ${comeBack}\n`);
  return end.exitCode;
}

async function* linesOf(io: Io, first: string | undefined, signal: AbortSignal): AsyncGenerator<string> {
  if (first !== undefined) yield first;
  if (signal.aborted) return;
  const lines = createInterface({ input: io.stdin, crlfDelay: Number.POSITIVE_INFINITY });
  const stop = (): void => lines.close();
  signal.addEventListener("abort", stop);
  try {
    for await (const line of lines) if (line.trim() !== "") yield line;
  } finally {
    signal.removeEventListener("abort", stop);
    lines.close();
  }
}

class PipedChat {
  readonly #io: Io;
  readonly #options: PipedChatOptions;
  readonly #view: LiveView;
  readonly #signal: AbortSignal;
  readonly #outbox: Outbox;
  readonly #events: AsyncGenerator<{ readonly json: string; readonly event: SessionEvent | undefined }>;
  #failed: unknown;

  constructor(io: Io, options: PipedChatOptions, { view, signal }: { view: LiveView; signal: AbortSignal }) {
    this.#io = io;
    this.#options = options;
    this.#view = view;
    this.#signal = signal;
    const { client, sessionId, after } = options;
    const onAway = (isAway: boolean): void => {
      if (isAway) io.stderr.write("the API is away; what was said is sent when it is back\n");
    };
    this.#outbox = new Outbox({ onAway, onFailed: (error) => this.#fail(error) }, signal);
    // The API was there a moment ago: it is not given up before it has opened the stream, either.
    this.#events = client.events(sessionId, { after, signal, giveUpMs: LIMITS.clientGiveUpMs });
  }

  /** Sends a line and follows its turn. @throws ClientError when the API refuses. */
  async say(line: string): Promise<TurnEnd> {
    if (Buffer.byteLength(line) > LIMITS.messageBytesMax)
      throw new UsageError(`a line is too long: a message holds at most ${LIMITS.messageBytesMax} bytes`);
    const message = await this.#post({ content: line, id: newId("msg") });
    if (!message) return STOP(EXIT.detached);
    for (;;) {
      const next = await this.#events.next();
      if (next.done) return STOP(this.#signal.aborted ? EXIT.detached : EXIT.interrupted);
      const { json, event } = next.value;
      if (this.#options.json) this.#io.stdout.write(`${safeJson(json)}\n`);
      else if (event) this.#view.show(event);
      if (this.#failed !== undefined) throw this.#failed;
      const end = event && (this.#asked(event) ?? endOf(event, message));
      if (end) return end;
    }
  }

  async leave(): Promise<void> {
    await this.#events.return(undefined);
  }

  /** Undefined when somebody left before it was taken. */
  async #post(message: NewMessage): Promise<MessageAccepted | undefined> {
    let accepted: MessageAccepted | undefined;
    this.#outbox.add(async () => {
      accepted = await this.#options.client.postMessage(this.#options.sessionId, message, this.#signal);
    });
    await this.#outbox.done();
    if (this.#failed !== undefined) throw this.#failed;
    return accepted;
  }

  /** What is to be done about an event that wants something of a person. */
  #asked(event: SessionEvent): TurnEnd | undefined {
    const { stderr } = this.#io;
    switch (event.type) {
      case "approval.requested":
        if (this.#options.approving === "always") {
          this.#approve(event);
          return undefined;
        }
        stderr.write(`the turn waits for an approval, ${event.callId}: perdure approve ${event.callId} (or deny)\n`);
        return STOP(EXIT.waiting);
      case "question.asked":
        stderr.write(`the turn waits for an answer to a question, ${event.callId}\n`);
        return STOP(EXIT.waiting);
      case "tool.requested":
        stderr.write(`the turn waits for ${event.callId}, a tool of the session's caller\n`);
        return undefined;
      default:
        return undefined;
    }
  }

  #approve({ callId, argumentsHash }: Extract<SessionEvent, { type: "approval.requested" }>): void {
    const { client, sessionId } = this.#options;
    const key = newId("msg");
    this.#outbox.add(async () => {
      try {
        await client.decideApproval({ sessionId, callId }, { decision: "approve", argumentsHash }, { key });
      } catch (error) {
        // Somebody else was faster, or the turn was: the log says what became of it.
        const code = error instanceof ClientError ? error.problem?.code : undefined;
        if (code !== "ALREADY_DECIDED" && code !== "NOT_FOUND") throw error;
      }
    });
  }

  #fail(error: unknown): void {
    this.#failed ??= error;
  }
}

function endOf(event: SessionEvent, message: MessageAccepted): TurnEnd | undefined {
  switch (event.type) {
    case "session.closed":
      return STOP(EXIT.interrupted);
    case "message.refused":
      return event.messageId === message.messageId ? STOP(EXIT.failed) : undefined;
    case "turn.completed":
      return event.turnId === message.turnId ? { exitCode: EXIT_OF.completed, goesOn: true } : undefined;
    case "turn.failed":
      return event.turnId === message.turnId ? STOP(EXIT_OF.failed) : undefined;
    case "turn.interrupted":
      return event.turnId === message.turnId ? STOP(EXIT_OF.interrupted) : undefined;
    default:
      return undefined;
  }
}
