/** A reply while it grows: numbers its blocks, passes them on to the sink, keeps them for the result. Knows no wire. */

import type { ReplyBlock, ThinkingBlock, ToolCallBlock } from "../../contract/blocks.ts";
import { jsonFault } from "../../contract/bounded-json.ts";
import { cutText, endsInside } from "../../contract/cut-text.ts";
import { type CallId, newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Usage } from "../../contract/usage.ts";
import { BackendError, type StepOutput, type StepSink } from "../backend.ts";

/** Reads one wire's events into a reply. */
export interface ReplyReader {
  /** Takes one event as it came from the provider. */
  read(event: unknown): void;
  /** What the provider itself said to have gone wrong, once it has. The SDK's own error for it holds no reason. */
  failure(): BackendError | undefined;
  /** The stream has said, in the words of no wire, that nothing comes any more: what came counts when it is whole. */
  end(): void;
  /** The result. Throws BackendError when the provider never said that the reply is whole, or it says nothing. */
  finish(): StepOutput;
}

/** A block that is still growing. */
export interface OpenBlock {
  readonly index: number;
  readonly type: ReplyBlock["type"];
  readonly callId: CallId | undefined;
  text: string;
  /** The first half of a character, whose other half comes with the next piece. */
  half?: string | undefined;
}

/** Of a call's name: no tool has a longer one. */
export const NAME_CHARACTERS = 256;

export class Reply {
  readonly #sink: StepSink;
  readonly #blocks: ReplyBlock[] = [];
  readonly #providerCallIds = new Set<string>();
  #started = 0;
  #characters = 0;
  #refusal = "";
  /** What the sink threw. It is ours (the attempt was superseded, the store is away), and must not be taken for the provider's. */
  sinkFailure: { readonly error: unknown } | undefined;

  constructor(sink: StepSink) {
    this.#sink = sink;
  }

  start(type: ReplyBlock["type"], name?: string): OpenBlock {
    const callId = type === "tool_call" ? newId("call") : undefined;
    const block: OpenBlock = { index: this.#started++, type, callId, text: "" };
    const named = name === undefined ? {} : { name: cutText(name, NAME_CHARACTERS) };
    const about = { type, ...(callId === undefined ? {} : { callId }), ...named };
    this.#tell(() => this.#sink.blockStarted(block.index, about));
    return block;
  }

  grow(block: OpenBlock, piece: string): void {
    if (piece === "") return;
    const joined = (block.half ?? "") + piece;
    block.half = endsInside(joined) ? joined.slice(-1) : undefined;
    const text = block.half === undefined ? joined : joined.slice(0, -1);
    if (text === "") return;
    this.#characters += text.length;
    if (this.#characters > LIMITS.replyCharactersMax) {
      const message = `the model's reply is longer than ${LIMITS.replyCharactersMax} characters; it was stopped`;
      throw new BackendError("INVALID_RESPONSE", message);
    }
    block.text += text;
    this.#tell(() => this.#sink.blockDelta(block.index, text.toWellFormed()));
  }

  /** Ends a text. `whole` is the provider's last word on it; what was not streamed of it is streamed now. */
  completeText(block: OpenBlock, whole: string): void {
    if (block.text === "") this.grow(block, whole);
    this.#complete(block.index, { type: "text", text: whole });
  }

  completeThinking(block: OpenBlock, whole: string, item?: unknown): void {
    if (block.text === "") this.grow(block, whole);
    const opaque = item === undefined ? {} : { opaque: { backend: "openai", item } };
    this.#complete(block.index, { type: "thinking", text: block.text, ...opaque } satisfies ThinkingBlock);
  }

  completeCall(block: OpenBlock, call: { name: string; arguments: string; id: string | undefined }): void {
    if (block.text === "") this.grow(block, call.arguments);
    // Some providers number their calls, or send no id: within one reply only ours can tell two such calls apart.
    const isOwn = call.id !== undefined && call.id !== "" && !this.#providerCallIds.has(call.id);
    if (call.id !== undefined) this.#providerCallIds.add(call.id);
    const made: ToolCallBlock = {
      type: "tool_call",
      callId: block.callId ?? newId("call"),
      name: cutText(call.name, NAME_CHARACTERS),
      arguments: parseArguments(call.arguments),
      ...(isOwn ? { providerCallId: call.id } : {}),
    };
    this.#complete(block.index, made);
  }

  refuse(words: string): void {
    this.#refusal += words;
  }

  /** Throws BackendError for a reply that says nothing: nobody could tell it from one that was lost. `why` is how it ended. */
  output(usage: Usage, model: string, why = "stop"): StepOutput {
    const blocks = this.#blocks.filter((block) => block !== undefined);
    if (!blocks.some(saysSomething)) {
      const thought = blocks.length > 0 ? "only thoughts" : "nothing";
      const message = `the model's reply holds ${thought}, and ended as if it were whole (${why.slice(0, 40)}, ${usage.outputTokens} tokens)`;
      throw new BackendError("INVALID_RESPONSE", message, { retryable: true, usage });
    }
    return { blocks, usage, model, ...(this.#refusal === "" ? {} : { refusal: this.#refusal }) };
  }

  #complete(index: number, block: ReplyBlock): void {
    this.#blocks[index] = block;
    this.#tell(() => this.#sink.blockCompleted(index, block));
  }

  #tell(say: () => void): void {
    try {
      say();
    } catch (error) {
      this.sinkFailure ??= { error };
      throw error;
    }
  }
}

function saysSomething(block: ReplyBlock): boolean {
  return block.type === "tool_call" || (block.type === "text" && block.text.trim() !== "");
}

/** An object, or the raw text when the model did not write one: the tool then tells it so. */
function parseArguments(text: string): Record<string, unknown> | string {
  if (text.trim() === "") return {};
  if (jsonFault(text) !== undefined) return text;
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : text;
  } catch {
    return text;
  }
}

/** More than any model reads or writes at once; sums of it stay whole numbers. */
const TOKENS_MAX = 1e9;

/** A count as a provider gave it: whole and not negative, 0 when it gave none that can be true. */
export function tokens(count: unknown): number {
  return typeof count === "number" && count > 0 && count <= TOKENS_MAX ? Math.floor(count) : 0;
}
