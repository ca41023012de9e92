/** Reads the events of Anthropic's Messages wire into a reply. */
import type { Usage } from "../../contract/usage.ts";
import type { StepOutput, StepSink } from "../backend.ts";
import { BackendError } from "../backend.ts";
import { brokenStream, type ErrorContext, providerError, saidIn } from "../openai/errors.ts";
import { type OpenBlock, Reply, type ReplyReader, tokens } from "../openai/reply.ts";
import { incomplete } from "../openai/responses-stream.ts";

interface RawUsage {
  readonly input_tokens?: number;
  readonly output_tokens?: number;
  readonly cache_read_input_tokens?: number | null;
  readonly cache_creation_input_tokens?: number | null;
}

interface RawEvent {
  readonly type?: string;
  readonly index?: number;
  readonly message?: { readonly model?: string; readonly usage?: RawUsage };
  readonly content_block?: {
    readonly type?: string;
    readonly id?: string;
    readonly name?: string;
    readonly input?: unknown;
    readonly text?: string;
    readonly thinking?: string;
  };
  readonly delta?: {
    readonly text?: string;
    readonly thinking?: string;
    readonly partial_json?: string;
    readonly stop_reason?: string | null;
  };
  readonly usage?: RawUsage;
  readonly error?: unknown;
}

interface OpenContent {
  readonly block: OpenBlock;
  readonly id: string | undefined;
  readonly name: string;
  /** What a call began with. */
  readonly input?: unknown;
}

export class AnthropicReader implements ReplyReader {
  readonly #reply: Reply;
  readonly #context: ErrorContext;
  readonly #open = new Map<number, OpenContent>();
  #usage: RawUsage = {};
  #model: string | undefined;
  #stopReason: string | undefined;
  #isWhole = false;
  #failure: BackendError | undefined;

  constructor(sink: StepSink, context: ErrorContext) {
    this.#reply = new Reply(sink);
    this.#context = context;
  }

  get sinkFailure(): Reply["sinkFailure"] {
    return this.#reply.sinkFailure;
  }

  read(raw: unknown): void {
    const event = raw as RawEvent;
    switch (event.type) {
      case "message_start":
        this.#model = event.message?.model;
        this.#usage = { ...this.#usage, ...event.message?.usage };
        break;
      case "content_block_start":
        this.#start(event.index ?? 0, event.content_block ?? {});
        break;
      case "content_block_delta":
        this.#grow(event.index ?? 0, event.delta ?? {});
        break;
      case "content_block_stop":
        this.#complete(event.index ?? 0);
        break;
      case "message_delta":
        this.#stopReason = event.delta?.stop_reason ?? this.#stopReason;
        this.#usage = { ...this.#usage, ...event.usage };
        break;
      case "message_stop":
        this.#isWhole = true;
        break;
      case "error":
        this.#failure = this.#failureIn(event);
        break;
      default:
        // A gateway puts in an error of its own, of no type.
        if (event.error) this.#failure ??= this.#failureIn(event);
        // Pings, and kinds that are yet to come: none of them changes what the known ones mean.
        break;
    }
  }

  failure(): BackendError | undefined {
    if (this.#failure !== undefined) return this.#failure;
    switch (this.#stopReason) {
      case "max_tokens":
        return incomplete("max_output_tokens", this.#count());
      case "model_context_window_exceeded":
        return new BackendError("CONTEXT_OVERFLOW", `the conversation does not fit the model ${this.#context.model}`);
      default:
        return undefined;
    }
  }

  finish(): StepOutput {
    const failure = this.failure();
    if (failure !== undefined) throw failure;
    if (!this.#isWhole || this.#stopReason === undefined) throw brokenStream(this.#context);
    const output = this.#reply.output(this.#count(), this.#model ?? this.#context.model);
    if (this.#stopReason !== "refusal") return output;
    const words = output.blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("\n");
    return { ...output, refusal: words === "" ? "the provider gives no reason" : words };
  }

  #count(): Usage {
    const cached = tokens(this.#usage.cache_read_input_tokens);
    return {
      // This wire counts what was read from its cache apart; the others count it in.
      inputTokens: tokens(this.#usage.input_tokens) + cached + tokens(this.#usage.cache_creation_input_tokens),
      outputTokens: tokens(this.#usage.output_tokens),
      cachedTokens: cached,
      reasoningTokens: 0, // Not told: it is part of the output.
    };
  }

  /** The event's own type says that it is an error, and not which. */
  #failureIn({ type: _, ...said }: RawEvent): BackendError {
    return providerError(saidIn(said), this.#context);
  }

  #start(index: number, content: NonNullable<RawEvent["content_block"]>): void {
    const { id, name = "" } = content;
    if (content.type === "tool_use") {
      this.#open.set(index, { block: this.#reply.start("tool_call", name), id, name, input: content.input });
    } else if (content.type === "thinking") {
      this.#open.set(index, { block: this.#reply.start("thinking"), id, name });
      this.#grow(index, { thinking: content.thinking ?? "" });
    } else if (content.type === "text" && content.text) {
      this.#grow(index, { text: content.text });
    }
  }

  #grow(index: number, delta: NonNullable<RawEvent["delta"]>): void {
    const text = delta.text ?? delta.thinking ?? delta.partial_json ?? "";
    if (text === "") return;
    // A text begins with its first delta, so that an empty one never shows.
    if (delta.text !== undefined && !this.#open.has(index)) {
      this.#open.set(index, { block: this.#reply.start("text"), id: undefined, name: "" });
    }
    const content = this.#open.get(index);
    if (content !== undefined) this.#reply.grow(content.block, text);
  }

  #complete(index: number): void {
    const content = this.#open.get(index);
    if (content === undefined) return;
    this.#open.delete(index);
    const { block, id, name, input } = content;
    if (block.type === "text") this.#reply.completeText(block, block.text);
    else if (block.type === "thinking") this.#reply.completeThinking(block, block.text);
    // Some servers give a call's arguments at its start, and no delta of them.
    else this.#reply.completeCall(block, { name, arguments: block.text || textOf(input), id });
  }
}

/** Nothing for an empty one: that is how each call begins. */
function textOf(input: unknown): string {
  const isEmpty = typeof input !== "object" || input === null || Object.keys(input).length === 0;
  return isEmpty ? "" : JSON.stringify(input);
}
