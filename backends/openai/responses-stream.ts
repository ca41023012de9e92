/** Reads the events of the Responses wire into a reply. */
import type { Usage } from "../../contract/usage.ts";
import { BackendError, type StepOutput, type StepSink } from "../backend.ts";
import { brokenStream, type ErrorContext, providerError, saidIn } from "./errors.ts";
import { type OpenBlock, Reply, type ReplyReader, tokens } from "./reply.ts";

interface RawPart {
  readonly type?: string;
  readonly text?: string;
  readonly refusal?: string;
}

interface RawItem {
  readonly id?: string;
  readonly type?: string;
  readonly name?: string;
  readonly call_id?: string;
  readonly arguments?: string;
  readonly summary?: readonly RawPart[];
  readonly content?: readonly RawPart[] | null;
}

interface RawResponse {
  readonly model?: string;
  readonly output?: readonly RawItem[];
  readonly error?: { readonly code?: string; readonly message?: string } | null;
  readonly incomplete_details?: { readonly reason?: string } | null;
  readonly usage?: {
    readonly input_tokens?: number;
    readonly output_tokens?: number;
    readonly input_tokens_details?: { readonly cached_tokens?: number } | null;
    readonly output_tokens_details?: { readonly reasoning_tokens?: number } | null;
  } | null;
}

interface RawEvent {
  readonly type?: string;
  readonly output_index?: number;
  readonly content_index?: number;
  readonly delta?: string;
  readonly item?: RawItem;
  readonly response?: RawResponse;
  readonly error?: unknown;
}

export class ResponsesReader implements ReplyReader {
  readonly #reply: Reply;
  readonly #context: ErrorContext;
  /** Open blocks by output index; the parts of a message by output and content index. */
  readonly #open = new Map<string, OpenBlock>();
  readonly #done = new Set<string | number>();
  #completed: RawResponse | undefined;
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
    const at = event.output_index ?? 0;
    switch (event.type) {
      case "response.output_item.added":
        this.#added(at, event.item);
        break;
      case "response.reasoning_summary_part.added":
        this.#nextSummary(at);
        break;
      case "response.reasoning_summary_text.delta":
      case "response.reasoning_text.delta":
        this.#reply.grow(this.#block(`${at}`, "thinking"), event.delta ?? "");
        break;
      case "response.output_text.delta":
      case "response.refusal.delta":
        this.#reply.grow(this.#block(`${at}/${event.content_index ?? 0}`, "text"), event.delta ?? "");
        break;
      case "response.function_call_arguments.delta":
        this.#reply.grow(this.#block(`${at}`, "tool_call"), event.delta ?? "");
        break;
      case "response.output_item.done":
        this.#itemDone(at, event.item);
        break;
      case "response.completed":
        this.#responseCompleted(event.response);
        break;
      case "response.failed":
      case "response.incomplete":
        this.#failure = failureOf(event.response, this.#context);
        break;
      case "error":
        this.#failure = this.#failureIn(event);
        break;
      default:
        // A gateway puts in an error of its own, of no type.
        if (event.error) this.#failure ??= this.#failureIn(event);
        // New kinds of events appear without notice, and none of them changes what the known ones mean.
        break;
    }
  }

  failure(): BackendError | undefined {
    return this.#failure;
  }

  /** The event's own type says that it is an error, and not which. */
  #failureIn({ type: _, ...said }: RawEvent): BackendError {
    return providerError(saidIn(said), this.#context);
  }

  finish(): StepOutput {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#completed === undefined) throw brokenStream(this.#context);
    const { usage, model } = this.#completed;
    return this.#reply.output(countOf(usage), model ?? this.#context.model);
  }

  /** A text begins with its first delta, so that an empty one never shows; thinking and calls begin at once. */
  #added(at: number, item: RawItem | undefined): void {
    if (item?.type === "reasoning") this.#block(`${at}`, "thinking");
    if (item?.type === "function_call") this.#block(`${at}`, "tool_call", item.name);
  }

  #block(key: string, type: OpenBlock["type"], name?: string): OpenBlock {
    const known = this.#open.get(key);
    if (known !== undefined) return known;
    const block = this.#reply.start(type, name);
    this.#open.set(key, block);
    return block;
  }

  #nextSummary(at: number): void {
    const block = this.#open.get(`${at}`);
    if (block !== undefined && block.text !== "") this.#reply.grow(block, "\n\n");
  }

  #itemDone(at: number, item: RawItem | undefined): void {
    if (item === undefined || this.#done.has(at)) return;
    this.#done.add(at);
    if (item.id !== undefined) this.#done.add(item.id);
    if (item.type === "reasoning") {
      const texts = (item.summary?.length ? item.summary : item.content)?.map((part) => part.text ?? "") ?? [];
      this.#reply.completeThinking(this.#block(`${at}`, "thinking"), texts.join("\n\n"), item);
    } else if (item.type === "function_call") {
      const call = { name: item.name ?? "", arguments: item.arguments ?? "", id: item.call_id };
      this.#reply.completeCall(this.#block(`${at}`, "tool_call", item.name), call);
    } else if (item.type === "message") {
      for (const [index, part] of (item.content ?? []).entries()) this.#partDone(`${at}/${index}`, part);
    }
  }

  #partDone(key: string, part: RawPart): void {
    const whole = part.text ?? part.refusal ?? "";
    if (whole === "" && !this.#open.has(key)) return;
    this.#reply.completeText(this.#block(key, "text"), whole);
    if (part.type === "refusal") this.#reply.refuse(whole);
  }

  #responseCompleted(response: RawResponse | undefined): void {
    if (response === undefined) return;
    // Some servers leave out events of items which the finished response then holds.
    for (const [index, item] of (response.output ?? []).entries()) {
      if (item.id === undefined || !this.#done.has(item.id)) this.#itemDone(index, item);
    }
    this.#completed = response;
  }
}

function countOf(usage: RawResponse["usage"]): Usage {
  return {
    inputTokens: tokens(usage?.input_tokens),
    outputTokens: tokens(usage?.output_tokens),
    cachedTokens: tokens(usage?.input_tokens_details?.cached_tokens),
    reasoningTokens: tokens(usage?.output_tokens_details?.reasoning_tokens),
  };
}

function failureOf(response: RawResponse | undefined, context: ErrorContext): BackendError {
  const reason = response?.incomplete_details?.reason;
  if (reason !== undefined) return incomplete(reason, countOf(response?.usage));
  const { code, message } = response?.error ?? {};
  return providerError({ code, message }, context);
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
