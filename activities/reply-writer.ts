/** Turns a streaming reply into facts of the log: at once for the first token, then coalesced. */
import type { StepSink } from "../backends/backend.ts";
import type { ReplyBlock } from "../contract/blocks.ts";
import type { Fact } from "../contract/events.ts";
import type { CallId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { PacedWriter } from "./paced-writer.ts";

/** Long enough that a reply which comes all at once is committed in one piece, short enough that nobody sees the wait. */
const FIRST_FLUSH_MS = 2;

export class ReplyWriter implements StepSink, Disposable {
  readonly #place: { readonly turnId: TurnId; readonly step: number };
  readonly #writer: PacedWriter<readonly Fact[]>;
  #facts: Fact[] = [];
  #open: { index: number; text: string } | undefined;
  #openBytes = 0;

  /** `onLost` is told, once, when facts could not be written: the attempt must then stop, and nothing after them is written. */
  constructor(
    place: { readonly turnId: TurnId; readonly step: number },
    publish: (facts: readonly Fact[]) => Promise<void>,
    onLost: (error: unknown) => void,
  ) {
    this.#place = place;
    const pace = { firstMs: FIRST_FLUSH_MS, everyMs: LIMITS.deltaEveryMs };
    this.#writer = new PacedWriter({ ...pace, take: () => this.#take(), write: publish, onLost });
  }

  blockStarted(
    index: number,
    block: { readonly type: ReplyBlock["type"]; readonly callId?: CallId; readonly name?: string },
  ): void {
    this.#closeDelta();
    this.#add({ type: "block.started", ...this.#place, index, block });
  }

  blockDelta(index: number, text: string): void {
    if (text === "" || !this.#writer.isOpen) return;
    if (this.#open && this.#open.index !== index) this.#closeDelta();
    this.#open = { index, text: (this.#open?.text ?? "") + text };
    this.#openBytes += text.length;
    if (this.#openBytes >= LIMITS.deltaBytes) {
      this.#closeDelta();
      this.#writer.flush();
    } else {
      this.#writer.schedule();
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
    await this.#writer.end();
    return this.#take() ?? [];
  }

  [Symbol.dispose](): void {
    this.#writer[Symbol.dispose]();
  }

  #add(fact: Fact): void {
    if (!this.#writer.isOpen) return;
    this.#facts.push(fact);
    this.#writer.schedule();
  }

  #closeDelta(): void {
    if (!this.#open) return;
    this.#facts.push({ type: "block.delta", ...this.#place, ...this.#open });
    this.#open = undefined;
    this.#openBytes = 0;
  }

  #take(): readonly Fact[] | undefined {
    this.#closeDelta();
    const facts = this.#facts;
    this.#facts = [];
    return facts.length > 0 ? facts : undefined;
  }
}

/** A block as clients see it: what the provider wants back verbatim is not theirs. */
function shown(block: ReplyBlock): ReplyBlock {
  if (block.type !== "thinking" || block.opaque === undefined) return block;
  return { type: "thinking", text: block.text };
}
