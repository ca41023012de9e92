/** Reads the chunks of the Chat Completions wire into a reply. */
import type { Usage } from "../../contract/usage.ts";
import type { BackendError, StepOutput, StepSink } from "../backend.ts";
import { brokenStream, type ErrorContext, providerError, saidIn } from "./errors.ts";
import { NAME_CHARACTERS, type OpenBlock, Reply, type ReplyReader, tokens } from "./reply.ts";
import { incomplete } from "./responses-stream.ts";

interface RawCall {
  readonly index?: number;
  readonly id?: string | null;
  readonly function?: { readonly name?: string | null; readonly arguments?: string | null } | null;
}

interface RawChunk {
  readonly model?: string;
  readonly choices?: readonly {
    readonly index?: number;
    readonly finish_reason?: string | null;
    readonly delta?: {
      readonly content?: string | null;
      readonly refusal?: string | null;
      /** Two names of the same thing: no standard has it. */
      readonly reasoning?: unknown;
      readonly reasoning_content?: unknown;
      readonly tool_calls?: readonly RawCall[] | null;
    } | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens?: number;
    readonly completion_tokens?: number;
    readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null;
    readonly completion_tokens_details?: { readonly reasoning_tokens?: number } | null;
  } | null;
  /** In place of the rest of the reply. */
  readonly error?: unknown;
}

/** A call while its pieces arrive. Its block begins with its arguments, when the name is whole. */
interface OpenCall {
  readonly id: string | undefined;
  name: string;
  block: OpenBlock | undefined;
}

export class ChatReader implements ReplyReader {
  readonly #reply: Reply;
  readonly #context: ErrorContext;
  /** The text or thinking that is growing now. */
  #open: OpenBlock | undefined;
  readonly #calls: OpenCall[] = [];
  readonly #callAt = new Map<number, OpenCall>();
  #finish: string | undefined;
  #usage: RawChunk["usage"];
  #model: string | undefined;
  #failure: BackendError | undefined;

  constructor(sink: StepSink, context: ErrorContext) {
    this.#reply = new Reply(sink);
    this.#context = context;
  }

  get sinkFailure(): Reply["sinkFailure"] {
    return this.#reply.sinkFailure;
  }

  read(raw: unknown): void {
    const chunk = raw as RawChunk;
    if (chunk.error) this.#failure ??= providerError(saidIn(chunk), this.#context);
    if (chunk.model) this.#model = chunk.model;
    if (chunk.usage) this.#usage = chunk.usage;
    const choice = chunk.choices?.find((one) => (one.index ?? 0) === 0);
    const delta = choice?.delta;
    const thought = delta?.reasoning_content ?? delta?.reasoning;
    if (typeof thought === "string") this.#grow("thinking", thought);
    if (delta?.content) this.#grow("text", delta.content);
    if (delta?.refusal) {
      this.#grow("text", delta.refusal);
      this.#reply.refuse(delta.refusal);
    }
    for (const call of delta?.tool_calls ?? []) this.#readCall(call);
    if (choice?.finish_reason) this.#finish = choice.finish_reason;
  }

  failure(): BackendError | undefined {
    if (this.#failure !== undefined) return this.#failure;
    const reason = this.#finish ?? "";
    if (reason === "length" || reason === "content_filter") return incomplete(reason, this.#count());
    // No standard has these two: gateways and servers end so what has failed in its middle.
    if (reason === "error") return providerError({}, this.#context);
    return reason === "insufficient_system_resource" ? providerError({ code: "overloaded" }, this.#context) : undefined;
  }

  finish(): StepOutput {
    const failure = this.failure();
    if (failure !== undefined) throw failure;
    // A stream that was cut looks like a whole reply here; only the missing reason tells.
    if (this.#finish === undefined) throw brokenStream(this.#context);
    this.#close();
    for (const call of this.#calls) {
      const block = call.block ?? this.#reply.start("tool_call", call.name);
      // Some gateways send empty arguments first and the real ones after them.
      const written = block.text.startsWith("{}{") ? block.text.slice(2) : block.text;
      this.#reply.completeCall(block, { name: call.name, arguments: written, id: call.id });
    }
    return this.#reply.output(this.#count(), this.#model ?? this.#context.model);
  }

  #count(): Usage {
    return {
      inputTokens: tokens(this.#usage?.prompt_tokens),
      outputTokens: tokens(this.#usage?.completion_tokens),
      cachedTokens: tokens(this.#usage?.prompt_tokens_details?.cached_tokens),
      reasoningTokens: tokens(this.#usage?.completion_tokens_details?.reasoning_tokens),
    };
  }

  #grow(type: "text" | "thinking", text: string): void {
    if (text === "") return;
    if (this.#open?.type !== type) this.#close();
    this.#open ??= this.#reply.start(type);
    this.#reply.grow(this.#open, text);
  }

  #close(): void {
    const block = this.#open;
    this.#open = undefined;
    if (block?.type === "text") this.#reply.completeText(block, block.text);
    if (block?.type === "thinking") this.#reply.completeThinking(block, block.text);
  }

  #readCall(piece: RawCall): void {
    this.#close();
    const call = this.#callOf(piece);
    const named = piece.function?.name ?? "";
    // A name comes whole, or in pieces, or whole with every piece, depending on the server.
    const isGrowing = call.block === undefined && call.name.length < NAME_CHARACTERS;
    if (isGrowing && named !== call.name) call.name += named;
    const written = piece.function?.arguments ?? "";
    if (written === "") return;
    call.block ??= this.#reply.start("tool_call", call.name);
    this.#reply.grow(call.block, written);
  }

  #callOf(piece: RawCall): OpenCall {
    const index = piece.index ?? 0;
    const known = this.#callAt.get(index);
    // Some servers give all parallel calls the same index: then a new id begins a new call. Others give each piece of a
    // call an id of its own: such a piece has no name.
    const isOther = piece.id && known?.id !== undefined && piece.id !== known.id;
    const isNew = known === undefined || (isOther && piece.function?.name);
    if (!isNew) return known;
    // The blocks keep the order of the calls, also when the one before this has no arguments.
    for (const earlier of this.#calls) earlier.block ??= this.#reply.start("tool_call", earlier.name);
    const call: OpenCall = { id: piece.id || undefined, name: "", block: undefined };
    this.#callAt.set(index, call);
    this.#calls.push(call);
    return call;
  }
}
