/** Reads the events of Anthropic's Messages wire into a reply. */
import type { Usage } from "../../contract/usage.ts";
import type { StepOutput, StepSink } from "../backend.ts";
import { BackendError } from "../backend.ts";
import { brokenStream, type ErrorContext, providerError, saidIn } from "../openai/errors.ts";
import { argumentsIn, isWholeJson, place, type Raw, record, textIn, word } from "../openai/raw.ts";
import { type OpenBlock, Reply, type ReplyReader, tokens } from "../openai/reply.ts";
import { incomplete } from "../openai/responses-stream.ts";

interface OpenContent {
  readonly block: OpenBlock;
  readonly id: string;
  readonly name: string;
  /** What a call began with. */
  readonly input?: unknown;
}

export class AnthropicReader implements ReplyReader {
  readonly #reply: Reply;
  readonly #context: ErrorContext;
  readonly #open = new Map<number, OpenContent>();
  /** Numbers of what has ended. */
  readonly #done = new Set<number>();
  /** Something came that belongs to nothing, or a call of no name: a part of the stream is missing. */
  #isTorn = false;
  #usage: Raw = {};
  #model = "";
  #stopReason = "";
  #isWhole = false;
  #isOver = false;
  #failure: BackendError | undefined;

  constructor(sink: StepSink, context: ErrorContext) {
    this.#reply = new Reply(sink);
    this.#context = context;
  }

  get sinkFailure(): Reply["sinkFailure"] {
    return this.#reply.sinkFailure;
  }

  read(raw: unknown): void {
    const event = record(raw);
    const message = record(event["message"]);
    const at = place(event["index"]);
    switch (event["type"]) {
      case "message_start":
        this.#model = word(message["model"]);
        this.#usage = { ...this.#usage, ...record(message["usage"]) };
        break;
      case "content_block_start":
        this.#start(at ?? this.#open.size + this.#done.size, record(event["content_block"]));
        break;
      case "content_block_delta":
        this.#grow(at, record(event["delta"]));
        break;
      case "content_block_stop":
        this.#complete(at ?? this.#newest);
        break;
      case "message_delta":
        this.#stopReason = word(record(event["delta"])["stop_reason"]) || this.#stopReason;
        this.#usage = { ...this.#usage, ...record(event["usage"]) };
        break;
      case "message_stop":
        this.#isWhole = true;
        break;
      case "error":
        this.#failure = this.#failureIn(event);
        break;
      default:
        // A gateway puts in an error of its own, of no type.
        if (event["error"]) this.#failure ??= this.#failureIn(event);
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

  end(): void {
    this.#isOver = true;
  }

  finish(): StepOutput {
    const failure = this.failure();
    if (failure !== undefined) throw failure;
    // Of the two last events some gateways leave one out.
    const areWhole = [...this.#open.values()].every(
      ({ block }) => block.type !== "tool_call" || isWholeJson(block.text),
    );
    const isWhole = this.#isWhole || this.#stopReason !== "" || (this.#isOver && areWhole);
    if (!isWhole) throw brokenStream(this.#context);
    for (const index of [...this.#open.keys()]) this.#complete(index);
    if (this.#isTorn) throw brokenStream(this.#context);
    const output = this.#reply.output(this.#count(), this.#model || this.#context.model, this.#stopReason);
    if (this.#stopReason !== "refusal") return output;
    const words = output.blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("\n");
    return { ...output, refusal: words === "" ? "the provider gives no reason" : words };
  }

  #count(): Usage {
    const cached = tokens(this.#usage["cache_read_input_tokens"]);
    const written = tokens(this.#usage["cache_creation_input_tokens"]);
    return {
      // This wire counts what was read from its cache apart; the others count it in.
      inputTokens: tokens(this.#usage["input_tokens"]) + cached + written,
      outputTokens: tokens(this.#usage["output_tokens"]),
      cachedTokens: cached,
      reasoningTokens: 0, // Not told: it is part of the output.
    };
  }

  /** The event's own type says that it is an error, and not which. */
  #failureIn({ type: _, ...said }: Raw): BackendError {
    return providerError(saidIn(said), this.#context);
  }

  get #newest(): number {
    return [...this.#open.keys()].at(-1) ?? -1;
  }

  #start(index: number, content: Raw): void {
    const [id, name] = [word(content["id"]), word(content["name"])];
    if (content["type"] === "tool_use" && typeof content["name"] !== "string") this.#isTorn = true;
    const kind = kindOf(word(content["type"]));
    const known = this.#open.get(index);
    if (known !== undefined) {
      // Said twice; else some gateways give all of them the same number.
      if (known.block.type === kind && known.id === id) return;
      this.#complete(index);
    }
    this.#done.delete(index);
    if (kind === "tool_call")
      this.#open.set(index, { block: this.#reply.start(kind, name), id, name, input: content["input"] });
    else if (kind === "thinking") this.#open.set(index, { block: this.#reply.start(kind), id, name });
    const begun = textIn(content["text"] ?? content["thinking"]);
    if (kind === "text" || kind === "thinking") this.#growBlock(index, kind, begun);
  }

  #grow(at: number | undefined, delta: Raw): void {
    const [said, thought, written] = [
      textIn(delta["text"]),
      textIn(delta["thinking"]),
      argumentsIn(delta["partial_json"]),
    ];
    const kind = said !== "" ? "text" : thought !== "" ? "thinking" : "tool_call";
    this.#growBlock(at ?? this.#newest, kind, said || thought || written);
  }

  #growBlock(index: number, kind: OpenBlock["type"], text: string): void {
    if (text === "") return;
    // A text begins with its first delta, so that an empty one never shows.
    if (kind !== "tool_call" && !this.#open.has(index) && !this.#done.has(index)) {
      this.#open.set(index, { block: this.#reply.start(kind), id: "", name: "" });
    }
    const content = this.#open.get(index);
    if (content === undefined) this.#isTorn = true;
    else this.#reply.grow(content.block, text);
  }

  #complete(index: number): void {
    const content = this.#open.get(index);
    if (content === undefined) return;
    this.#open.delete(index);
    this.#done.add(index);
    const { block, id, name, input } = content;
    if (block.type === "text") this.#reply.completeText(block, block.text);
    else if (block.type === "thinking") this.#reply.completeThinking(block, block.text);
    // Some servers give a call's arguments at its start, and no delta of them.
    else this.#reply.completeCall(block, { name, arguments: block.text || givenIn(input), id: id || undefined });
  }
}

function kindOf(type: string): OpenBlock["type"] | undefined {
  if (type === "tool_use") return "tool_call";
  return type === "thinking" || type === "text" ? type : undefined;
}

/** Nothing for an empty one: that is how each call begins. */
function givenIn(input: unknown): string {
  return Object.keys(record(input)).length === 0 ? "" : argumentsIn(input);
}
