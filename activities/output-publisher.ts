/** Coalesces a tool's output into `tool.output` events, bounded in size, each committed with how far it reaches. */
import type { Fact } from "../contract/events.ts";
import type { CallId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SpoolOffsets } from "../store/offsets.ts";

interface Piece {
  readonly stream: "stdout" | "stderr";
  text: string;
}

/** Output that comes and ends within this is committed with the call's result, in one transaction instead of two. */
const FIRST_FLUSH_MS = 15;

export class OutputPublisher implements Disposable {
  readonly #place: { readonly turnId: TurnId; readonly step: number; readonly callId: CallId };
  readonly #publish: (output: { readonly facts: readonly Fact[]; readonly upTo: SpoolOffsets }) => Promise<void>;
  readonly #onLost: (error: unknown) => void;
  #pieces: Piece[] = [];
  #bytes = 0;
  #upTo: SpoolOffsets | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastFlush = 0;
  #flushing: Promise<void> = Promise.resolve();
  #ended = false;
  #lost: { readonly error: unknown } | undefined;

  /** `onLost` is told, once, when output could not be written: the attempt must then stop, and nothing after it is written. */
  constructor(
    place: { readonly turnId: TurnId; readonly step: number; readonly callId: CallId },
    publish: (output: { readonly facts: readonly Fact[]; readonly upTo: SpoolOffsets }) => Promise<void>,
    onLost: (error: unknown) => void,
  ) {
    this.#place = place;
    this.#publish = publish;
    this.#onLost = onLost;
  }

  add(stream: "stdout" | "stderr", text: string, upTo: SpoolOffsets): void {
    if (this.#ended || this.#lost) return;
    this.#upTo = upTo;
    const last = this.#pieces.at(-1);
    if (last?.stream === stream) last.text += text;
    else this.#pieces.push({ stream, text });
    this.#bytes += text.length;
    if (this.#bytes >= LIMITS.outputEventBytes) this.#flush();
    else this.#schedule();
  }

  /**
   * Ends the publishing and returns what is not published yet, for the caller's own transaction. Throws when something
   * before it could not be published: the next attempt publishes it from where the last commit reached.
   */
  async end(): Promise<readonly Fact[]> {
    this.#ended = true;
    clearTimeout(this.#timer);
    await this.#flushing;
    if (this.#lost) throw this.#lost.error;
    return this.#take();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    const wait = this.#lastFlush + LIMITS.outputEveryMs - Date.now();
    this.#timer ??= setTimeout(() => this.#flush(), Math.max(wait, FIRST_FLUSH_MS));
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const upTo = this.#upTo;
    if (this.#pieces.length === 0 || !upTo || this.#ended) return;
    const facts = this.#take();
    this.#lastFlush = Date.now();
    this.#flushing = this.#flushing.then(() => this.#write({ facts, upTo }));
  }

  async #write(output: { readonly facts: readonly Fact[]; readonly upTo: SpoolOffsets }): Promise<void> {
    if (this.#lost) return;
    try {
      await this.#publish(output);
    } catch (error) {
      this.#lost = { error };
      this.#onLost(error);
    }
  }

  #take(): readonly Fact[] {
    const facts = this.#pieces
      .filter((piece) => piece.text !== "")
      .map(({ stream, text }): Fact => ({ type: "tool.output", ...this.#place, stream, text }));
    this.#pieces = [];
    this.#bytes = 0;
    return facts;
  }
}
