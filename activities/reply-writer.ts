/** Turns a streaming reply into facts of the log: at once for the first token, then coalesced. */
import type { StepSink } from "../backends/backend.ts";
import type { ReplyBlock } from "../contract/blocks.ts";
import type { Fact } from "../contract/events.ts";
import type { CallId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";

/** Long enough that a reply which comes all at once is committed in one piece, short enough that nobody sees the wait. */
const FIRST_FLUSH_MS = 2;

export class ReplyWriter implements StepSink, Disposable {
  readonly #place: { readonly turnId: TurnId; readonly step: number };
  readonly #publish: (facts: readonly Fact[]) => Promise<void>;
  readonly #onLost: (error: unknown) => void;
  #facts: Fact[] = [];
  #open: { index: number; text: string } | undefined;
  #openBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #lastFlush = 0;
  #flushing: Promise<void> = Promise.resolve();
  #ended = false;
  #lost: { readonly error: unknown } | undefined;

  /** `onLost` is told, once, when facts could not be written: the attempt must then stop, and nothing after them is written. */
  constructor(
    place: { readonly turnId: TurnId; readonly step: number },
    publish: (facts: readonly Fact[]) => Promise<void>,
    onLost: (error: unknown) => void,
  ) {
    this.#place = place;
    this.#publish = publish;
    this.#onLost = onLost;
  }

  blockStarted(
    index: number,
    block: { readonly type: ReplyBlock["type"]; readonly callId?: CallId; readonly name?: string },
  ): void {
    this.#closeDelta();
    this.#add({ type: "block.started", ...this.#place, index, block });
  }

  blockDelta(index: number, text: string): void {
    if (text === "" || this.#ended || this.#lost) return;
    if (this.#open && this.#open.index !== index) this.#closeDelta();
    this.#open = { index, text: (this.#open?.text ?? "") + text };
    this.#openBytes += text.length;
    if (this.#openBytes >= LIMITS.deltaBytes) {
      this.#closeDelta();
      this.#flush();
    } else {
      this.#schedule();
    }
  }

  blockCompleted(index: number, block: ReplyBlock): void {
    this.#closeDelta();
    this.#add({ type: "block.completed", ...this.#place, index, block: shown(block) });
  }

  /**
   * Ends the streaming and returns what is not published yet, for the caller's own transaction. Throws when something
   * before it could not be published: what is committed then would follow a gap.
   */
  async end(): Promise<readonly Fact[]> {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#closeDelta();
    await this.#flushing;
    if (this.#lost) throw this.#lost.error;
    const rest = this.#facts;
    this.#facts = [];
    return rest;
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  #add(fact: Fact): void {
    if (this.#ended || this.#lost) return;
    this.#facts.push(fact);
    this.#schedule();
  }

  #closeDelta(): void {
    if (!this.#open) return;
    this.#facts.push({ type: "block.delta", ...this.#place, ...this.#open });
    this.#open = undefined;
    this.#openBytes = 0;
  }

  #schedule(): void {
    const wait = this.#lastFlush + LIMITS.deltaEveryMs - Date.now();
    this.#timer ??= setTimeout(() => this.#flush(), Math.max(wait, FIRST_FLUSH_MS));
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#closeDelta();
    const facts = this.#facts;
    if (facts.length === 0 || this.#ended) return;
    this.#facts = [];
    this.#lastFlush = Date.now();
    this.#flushing = this.#flushing.then(() => this.#write(facts));
  }

  async #write(facts: readonly Fact[]): Promise<void> {
    if (this.#lost) return;
    try {
      await this.#publish(facts);
    } catch (error) {
      this.#lost = { error };
      this.#onLost(error);
    }
  }
}

/** A block as clients see it: what the provider wants back verbatim is not theirs. */
function shown(block: ReplyBlock): ReplyBlock {
  if (block.type !== "thinking" || block.opaque === undefined) return block;
  return { type: "thinking", text: block.text };
}
