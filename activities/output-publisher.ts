/** Coalesces output into `tool.output` events, or `command.output` of a caller's command, bounded in size, each committed with how far it reaches. */
import type { Fact } from "../contract/events.ts";
import type { CallId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SpoolOffsets } from "../store/offsets.ts";
import { PacedWriter } from "./paced-writer.ts";

interface Piece {
  readonly stream: "stdout" | "stderr";
  text: string;
}

/** Output that comes and ends within this is committed with the call's result, in one transaction instead of two. */
const FIRST_FLUSH_MS = 15;

interface Output {
  readonly facts: readonly Fact[];
  readonly upTo: SpoolOffsets;
}

/** Whose output it is: a call's of a turn, or a caller's command. */
export type OutputPlace =
  | { readonly turnId: TurnId; readonly step: number; readonly callId: CallId }
  | { readonly callId: CallId };

export class OutputPublisher implements Disposable {
  readonly #place: OutputPlace;
  readonly #writer: PacedWriter<Output>;
  #pieces: Piece[] = [];
  #bytes = 0;
  #upTo: SpoolOffsets | undefined;

  /** `onLost` is told, once, when output could not be written: the attempt must then stop, and nothing after it is written. */
  constructor(place: OutputPlace, publish: (output: Output) => Promise<void>, onLost: (error: unknown) => void) {
    this.#place = place;
    const pace = { firstMs: FIRST_FLUSH_MS, everyMs: LIMITS.outputEveryMs };
    this.#writer = new PacedWriter({ ...pace, take: () => this.#takeOutput(), write: publish, onLost });
  }

  add(stream: "stdout" | "stderr", text: string, upTo: SpoolOffsets): void {
    if (!this.#writer.isOpen) return;
    this.#upTo = upTo;
    const last = this.#pieces.at(-1);
    if (last?.stream === stream) last.text += text;
    else this.#pieces.push({ stream, text });
    this.#bytes += text.length;
    if (this.#bytes >= LIMITS.outputEventBytes) this.#writer.flush();
    else this.#writer.schedule();
  }

  /**
   * Ends the publishing and returns what is not published yet, for the caller's own transaction. Throws when something
   * before it could not be published: the next attempt publishes it from where the last commit reached.
   */
  async end(): Promise<readonly Fact[]> {
    await this.#writer.end();
    return this.#take();
  }

  [Symbol.dispose](): void {
    this.#writer[Symbol.dispose]();
  }

  #takeOutput(): Output | undefined {
    const upTo = this.#upTo;
    return this.#pieces.length > 0 && upTo ? { facts: this.#take(), upTo } : undefined;
  }

  #take(): readonly Fact[] {
    const facts = this.#pieces
      .filter((piece) => piece.text !== "")
      .map(({ stream, text }) => outputFact(this.#place, stream, text));
    this.#pieces = [];
    this.#bytes = 0;
    return facts;
  }
}

function outputFact(place: OutputPlace, stream: Piece["stream"], text: string): Fact {
  return "turnId" in place
    ? { type: "tool.output", ...place, stream, text }
    : { type: "command.output", ...place, stream, text };
}
