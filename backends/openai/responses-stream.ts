/** Reads the events of the Responses wire into a reply. */
import type { Usage } from "../../contract/usage.ts";
import { BackendError, type StepOutput, type StepSink } from "../backend.ts";
import { brokenStream, type ErrorContext, providerError, saidIn } from "./errors.ts";
import { list, place, type Raw, record, textIn, word } from "./raw.ts";
import { Reply, type ReplyReader, tokens } from "./reply.ts";
import { ResponseItems } from "./response-items.ts";

export class ResponsesReader implements ReplyReader {
  readonly #reply: Reply;
  readonly #items: ResponseItems;
  readonly #context: ErrorContext;
  #completed: Raw | undefined;
  #isOver = false;
  #failure: BackendError | undefined;

  constructor(sink: StepSink, context: ErrorContext) {
    this.#reply = new Reply(sink);
    this.#items = new ResponseItems(this.#reply);
    this.#context = context;
  }

  get sinkFailure(): Reply["sinkFailure"] {
    return this.#reply.sinkFailure;
  }

  read(raw: unknown): void {
    const event = record(raw);
    const at = {
      id: word(event["item_id"]) || word(record(event["item"])["id"]),
      index: place(event["output_index"]),
      part: place(event["content_index"]) ?? 0,
    };
    const delta = textIn(event["delta"]);
    switch (event["type"]) {
      case "response.output_item.added":
        this.#items.added(at, record(event["item"]));
        break;
      case "response.reasoning_summary_part.added":
        this.#items.nextSummary(at);
        break;
      case "response.reasoning_summary_text.delta":
      case "response.reasoning_text.delta":
        this.#items.grow(at, "thinking", delta);
        break;
      case "response.output_text.delta":
      case "response.refusal.delta":
        this.#items.grow(at, "text", delta);
        break;
      case "response.function_call_arguments.delta":
        this.#items.grow(at, "tool_call", delta);
        break;
      case "response.output_item.done":
        this.#items.done(at, record(event["item"]));
        break;
      case "response.completed":
      case "response.done":
        this.#responseCompleted(record(event["response"]));
        break;
      case "response.failed":
      case "response.incomplete":
        this.#failure = failureOf(record(event["response"]), this.#context);
        break;
      case "error":
        this.#failure = this.#failureIn(event);
        break;
      default:
        // A gateway puts in an error of its own, of no type.
        if (event["error"]) this.#failure ??= this.#failureIn(event);
        // New kinds of events appear without notice, and none of them changes what the known ones mean.
        break;
    }
  }

  failure(): BackendError | undefined {
    return this.#failure;
  }

  end(): void {
    this.#isOver = true;
  }

  /** The event's own type says that it is an error, and not which. */
  #failureIn({ type: _, ...said }: Raw): BackendError {
    return providerError(saidIn(said), this.#context);
  }

  finish(): StepOutput {
    if (this.#failure !== undefined) throw this.#failure;
    const isWhole = this.#completed !== undefined || (this.#isOver && this.#items.areWhole);
    if (!isWhole || this.#items.isTorn) throw brokenStream(this.#context);
    this.#items.complete();
    const { usage, model, status } = this.#completed ?? {};
    return this.#reply.output(countOf(record(usage)), word(model) || this.#context.model, word(status) || undefined);
  }

  #responseCompleted(response: Raw): void {
    const { status } = response;
    if (status === "incomplete" || status === "failed") {
      this.#failure = failureOf(response, this.#context);
      return;
    }
    // Some servers leave out events of items which the finished response then holds.
    for (const [index, item] of list(response["output"]).entries()) this.#items.last(index, record(item));
    this.#completed = response;
  }
}

function countOf(usage: Raw): Usage {
  return {
    inputTokens: tokens(usage["input_tokens"]),
    outputTokens: tokens(usage["output_tokens"]),
    cachedTokens: tokens(record(usage["input_tokens_details"])["cached_tokens"]),
    reasoningTokens: tokens(record(usage["output_tokens_details"])["reasoning_tokens"]),
  };
}

function failureOf(response: Raw, context: ErrorContext): BackendError {
  const reason = word(record(response["incomplete_details"])["reason"]);
  if (reason !== "") return incomplete(reason, countOf(record(response["usage"])));
  return providerError(saidIn(response["error"]), context);
}

/** The error of a reply that the provider cut short on purpose. */
export function incomplete(reason: string, usage: Usage): BackendError {
  return new BackendError("INVALID_RESPONSE", whyIncomplete(reason), { usage });
}

function whyIncomplete(reason: string): string {
  switch (reason) {
    case "max_output_tokens":
    case "length":
      return "the model's reply was cut at its limit of output tokens; raise modelSettings.maxOutputTokens or ask for less at once";
    case "content_filter":
      return "the provider's content filter stopped the reply; change the message and try again";
    default:
      return `the provider ended the reply early (${reason.slice(0, 100)})`;
  }
}
