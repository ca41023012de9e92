/** Reads the chunks of the Chat Completions wire into a reply. */
import type { Usage } from "../../contract/usage.ts";
import type { BackendError, StepOutput, StepSink } from "../backend.ts";
import { ChatCalls } from "./chat-calls.ts";
import { brokenStream, type ErrorContext, providerError, saidIn } from "./errors.ts";
import { list, place, type Raw, record, saidParts, textIn, word } from "./raw.ts";
import { type OpenBlock, Reply, type ReplyReader, tokens } from "./reply.ts";
import { incomplete } from "./responses-stream.ts";

export class ChatReader implements ReplyReader {
  readonly #reply: Reply;
  readonly #context: ErrorContext;
  readonly #calls: ChatCalls;
  /** The text or thinking that is growing now. */
  #open: OpenBlock | undefined;
  /** What the open thought came with, under the server's own names: it may want that back. */
  #thought: { field: string; readonly details: unknown[] } | undefined;
  #hasSpoken = false;
  #hasCalls = false;
  #finish: string | undefined;
  #isOver = false;
  #usage: Raw = {};
  #model = "";
  #failure: BackendError | undefined;

  constructor(sink: StepSink, context: ErrorContext) {
    this.#reply = new Reply(sink);
    this.#calls = new ChatCalls(this.#reply);
    this.#context = context;
  }

  get sinkFailure(): Reply["sinkFailure"] {
    return this.#reply.sinkFailure;
  }

  read(raw: unknown): void {
    const chunk = record(raw);
    // In place of the rest of the reply.
    if (chunk["error"]) this.#failure ??= providerError(saidIn(chunk), this.#context);
    this.#model = word(chunk["model"]) || this.#model;
    this.#usage = { ...this.#usage, ...record(chunk["usage"]) };
    const choices = list(chunk["choices"]).map(record);
    const choice = choices.length === 1 ? choices[0] : choices.find((one) => (place(one["index"]) ?? 0) === 0);
    if (choice === undefined) return;
    this.#readDelta(record(choice["delta"]));
    this.#readMessage(record(choice["message"]));
    this.#finish = word(choice["finish_reason"]) || this.#finish;
  }

  failure(): BackendError | undefined {
    if (this.#failure !== undefined) return this.#failure;
    const reason = this.#finish ?? "";
    if (/^(length|max_tokens|content_filter|sensitive)$/i.test(reason)) {
      return incomplete(/^(length|max)/i.test(reason) ? "length" : "content_filter", this.#count());
    }
    // No standard has these: gateways and servers end so what has failed in its middle.
    if (/^insufficient_system_resource$|overload/i.test(reason)) {
      return providerError({ code: "overloaded" }, this.#context);
    }
    return /error|fail|abort|cancel/i.test(reason) ? providerError({}, this.#context) : undefined;
  }

  end(): void {
    this.#isOver = true;
  }

  finish(): StepOutput {
    const failure = this.failure();
    if (failure !== undefined) throw failure;
    // A stream that was cut looks like a whole reply here; only the missing reason tells. Some servers give none, and end well.
    const isWhole = this.#finish !== undefined || (this.#isOver && this.#calls.areWhole);
    if (!isWhole || this.#calls.isTorn) throw brokenStream(this.#context);
    this.#close();
    this.#calls.complete();
    return this.#reply.output(this.#count(), this.#model || this.#context.model, this.#finish);
  }

  #readDelta(delta: Raw): void {
    // Two names of the same thing: no standard has it.
    const field = typeof delta["reasoning_content"] === "string" ? "reasoning_content" : "reasoning";
    const [thought, details] = [
      textIn(delta["reasoning_content"] ?? delta["reasoning"]),
      list(delta["reasoning_details"]),
    ];
    if (thought !== "") {
      this.#grow("thinking", thought);
      this.#thought ??= { field, details: [] };
    }
    this.#thought?.details.push(...details);
    for (const { kind, text } of saidParts(delta["content"])) {
      this.#grow(kind === "thinking" ? "thinking" : "text", text);
      if (kind === "refusal") this.#reply.refuse(text);
    }
    const refusal = textIn(delta["refusal"]);
    if (refusal !== "") {
      this.#grow("text", refusal);
      this.#reply.refuse(refusal);
    }
    // The form of before there were several calls; some send both of the same call.
    const old = this.#hasCalls ? [] : list(delta["function_call"]).map((call) => ({ function: call }));
    const calls = list(delta["tool_calls"]);
    this.#hasCalls ||= calls.length > 0;
    for (const [at, call] of (calls.length > 0 ? calls : old).entries()) {
      this.#close();
      this.#calls.read(record(call), at);
    }
  }

  /** The form of a reply that is not streamed: some servers send it in one chunk, others once more behind its pieces. */
  #readMessage(message: Raw): void {
    const { tool_calls: calls, function_call: call, ...said } = message;
    if (!this.#hasSpoken) this.#readDelta(said);
    if (this.#calls.isEmpty) this.#readDelta({ tool_calls: calls, function_call: call });
  }

  #count(): Usage {
    const usage = this.#usage;
    return {
      inputTokens: tokens(usage["prompt_tokens"]),
      outputTokens: tokens(usage["completion_tokens"]),
      cachedTokens: tokens(record(usage["prompt_tokens_details"])["cached_tokens"]),
      reasoningTokens: tokens(record(usage["completion_tokens_details"])["reasoning_tokens"]),
    };
  }

  #grow(type: "text" | "thinking", text: string): void {
    this.#hasSpoken ||= type === "text";
    if (this.#open?.type !== type) this.#close();
    this.#open ??= this.#reply.start(type);
    this.#reply.grow(this.#open, text);
  }

  #close(): void {
    const block = this.#open;
    this.#open = undefined;
    if (block?.type === "text") this.#reply.completeText(block, block.text);
    if (block?.type !== "thinking") return;
    const { field, details } = this.#thought ?? { details: [] };
    this.#thought = undefined;
    const chat = { ...(field && { [field]: block.text }), ...(details.length > 0 && { reasoning_details: details }) };
    this.#reply.completeThinking(block, block.text, field && { chat });
  }
}
