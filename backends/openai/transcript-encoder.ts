/** A transcript as bytes: each message is turned into them once, and these are kept for as long as the conversation is. */
import type { Block, TranscriptMessage } from "../../contract/blocks.ts";
import { wellFormedJson } from "../../contract/cut-text.ts";
import { carriesReasoning, itemsOf, type Wire } from "./items.ts";

/** What a provider may refuse in a conversation that goes on without it. */
export type Refusable = "reasoning" | "pictures";

/** A conversation that was turned into bytes, as far as it had come. */
interface Encoded {
  readonly messages: TranscriptMessage[];
  /** In so many of its messages it is left out. */
  readonly leftOut: Readonly<Record<Refusable, number>>;
  /** Whether it is in the others. */
  readonly has: Record<Refusable, boolean>;
  /** Has room behind `length`, so that what is new is put at its end. */
  bytes: Buffer;
  length: number;
}

export class TranscriptEncoder {
  /** By the first message: a conversation's bytes live as long as it does. */
  readonly #known: Readonly<Record<Wire, WeakMap<TranscriptMessage, Encoded>>> = {
    responses: new WeakMap(),
    chat_completions: new WeakMap(),
  };

  /**
   * The JSON of all items, separated by commas, without brackets. A longer transcript of the same messages only costs
   * what is new in it; the bytes that were given out before stay as they are.
   */
  encode(transcript: readonly TranscriptMessage[], wire: Wire): Uint8Array {
    const [first] = transcript;
    if (first === undefined) return Buffer.alloc(0);
    let encoded = this.#known[wire].get(first);
    if (encoded === undefined || encoded.messages.some((message, i) => message !== transcript[i])) {
      encoded = nothing(encoded?.leftOut);
      this.#known[wire].set(first, encoded);
    }
    for (const message of transcript.slice(encoded.messages.length)) {
      const sent = withoutRefused(message, encoded);
      const items = itemsOf(sent, { wire, isNew: message === transcript.at(-1) });
      append(encoded, items.map((item) => wellFormedJson(item)).join(","));
      encoded.has.reasoning ||= sent.blocks.some((block) => carriesReasoning(block, wire));
      encoded.has.pictures ||= hasPicture(sent);
      encoded.messages.push(message);
    }
    return encoded.bytes.subarray(0, encoded.length);
  }

  /** From now on without those that are in it by now. False: there are none, so that cannot be why it was refused. */
  leaveOut(transcript: readonly TranscriptMessage[], wire: Wire, what: Refusable): boolean {
    const [first] = transcript;
    if (first === undefined) return false;
    const known = this.#known[wire].get(first);
    if (!known?.has[what]) return false;
    this.#known[wire].set(first, nothing({ ...known.leftOut, [what]: transcript.length }));
    return true;
  }
}

/** Pictures, and files of any other kind. */
export function hasPicture({ blocks }: TranscriptMessage): boolean {
  return blocks.some(({ type }) => type === "image" || type === "file");
}

function nothing(leftOut: Encoded["leftOut"] = { reasoning: 0, pictures: 0 }): Encoded {
  return { messages: [], leftOut, has: { reasoning: false, pictures: false }, bytes: Buffer.alloc(0), length: 0 };
}

function withoutRefused(message: TranscriptMessage, { messages, leftOut }: Encoded): TranscriptMessage {
  const [isPlain, isBlind] = [messages.length < leftOut.reasoning, messages.length < leftOut.pictures];
  const isTouched =
    (isPlain && message.blocks.some(({ type }) => type === "thinking")) || (isBlind && hasPicture(message));
  if (!isTouched) return message;
  const blocks = message.blocks.filter(({ type }) => !(isPlain && type === "thinking"));
  return { ...message, blocks: isBlind ? blocks.map(noted) : blocks };
}

function noted(block: Block): Block {
  if (block.type !== "image" && block.type !== "file") return block;
  const what = block.type === "image" ? "A picture" : `The file ${JSON.stringify(block.filename)}`;
  return { type: "text", text: `[${what} was here. The model provider refused it, so you do not see it.]` };
}

const ROOM_MIN = 4_096;

function append(encoded: Encoded, text: string): void {
  if (text === "") return;
  const addition = Buffer.from(encoded.length === 0 ? text : `,${text}`);
  const length = encoded.length + addition.length;
  if (length > encoded.bytes.length) {
    const roomier = Buffer.allocUnsafeSlow(Math.max(ROOM_MIN, Math.ceil(length * 1.5)));
    encoded.bytes.copy(roomier, 0, 0, encoded.length);
    encoded.bytes = roomier;
  }
  addition.copy(encoded.bytes, encoded.length);
  encoded.length = length;
}
