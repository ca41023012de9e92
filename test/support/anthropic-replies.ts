/** How a scripted step looks on Anthropic's Messages wire: the frames of a stream, one JSON document, or an error. */
import { argumentsOf, breakOf, deltas, type Frame, newId, numbers, type ReplyContext } from "./model-replies.ts";
import type { ScriptStep } from "./model-script.ts";

type Block =
  | { readonly type: "thinking"; readonly thinking: string; readonly signature: string }
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "tool_use"; readonly id: string; readonly name: string; readonly written: string };

const SIGNATURE = Buffer.from("signed by the script").toString("base64");

/** The non-streaming reply of the Messages wire. */
export function anthropicDocument(step: ScriptStep, context: ReplyContext): Record<string, unknown> {
  const content = blocksOf(step).map((block) => {
    if (block.type !== "tool_use") return block;
    return { type: block.type, id: block.id, name: block.name, input: JSON.parse(block.written) as unknown };
  });
  return { ...head(context), content, stop_reason: stopReason(step), usage: usageOf(step, context) };
}

/** The streamed reply of the Messages wire. */
export function* anthropicFrames(step: ScriptStep, context: ReplyContext): Generator<Frame> {
  const started = { ...head(context), usage: { ...usageOf(step, context), output_tokens: 1 } };
  yield event("message_start", { message: started }) + event("ping", {});
  const broken = breakOf(step);
  for (const [index, block] of blocksOf(step).entries()) {
    if (broken !== undefined && block.type === "tool_use") break;
    yield* blockFrames(block, { index, piece: context.piece, isOpen: broken !== undefined && block.type === "text" });
  }
  if (broken !== undefined) {
    yield broken;
    return;
  }
  const failed = step.errorEvent ?? step.failed;
  if (failed !== undefined) {
    const type = ("type" in failed ? failed.type : undefined) ?? failed.code ?? "api_error";
    yield event("error", { error: { type, message: failed.message } });
    return;
  }
  const delta = { stop_reason: stopReason(step), stop_sequence: null };
  yield event("message_delta", { delta, usage: usageOf(step, context) }) + event("message_stop", {});
}

/** The body of an error answer. */
export function anthropicError(status: number, message: string): Record<string, unknown> {
  return { type: "error", error: { type: ERROR_TYPES[status] ?? "api_error", message }, request_id: newId("req") };
}

const ERROR_TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  529: "overloaded_error",
};

function event(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}

function blocksOf(step: ScriptStep): readonly Block[] {
  const blocks: Block[] = [];
  if (step.think !== undefined) blocks.push({ type: "thinking", thinking: step.think, signature: SIGNATURE });
  const text = `${step.text ?? ""}${step.refusal ?? ""}`;
  if (text !== "") blocks.push({ type: "text", text });
  for (const tool of step.tools ?? []) {
    blocks.push({ type: "tool_use", id: newId("toolu"), name: tool.name, written: argumentsOf(tool) });
  }
  return blocks;
}

interface Place {
  readonly index: number;
  readonly piece: number;
  /** The stream breaks in this block, so it gets no end. */
  readonly isOpen: boolean;
}

function* blockFrames(block: Block, { index, piece, isOpen }: Place): Generator<Frame> {
  const delta = (fields: object): string => event("content_block_delta", { index, delta: fields });
  const start = (content_block: object): string => event("content_block_start", { index, content_block });
  switch (block.type) {
    case "thinking":
      yield start({ type: "thinking", thinking: "", signature: "" });
      yield* deltas(block.thinking, piece, (thinking) => delta({ type: "thinking_delta", thinking }));
      yield delta({ type: "signature_delta", signature: block.signature });
      break;
    case "text":
      yield start({ type: "text", text: "" });
      yield* deltas(block.text, piece, (text) => delta({ type: "text_delta", text }));
      break;
    case "tool_use":
      yield start({ type: "tool_use", id: block.id, name: block.name, input: {} });
      yield* deltas(block.written, piece, (partial_json) => delta({ type: "input_json_delta", partial_json }));
      break;
  }
  if (!isOpen) yield event("content_block_stop", { index });
}

function head(context: ReplyContext): Record<string, unknown> {
  const none = { stop_reason: null, stop_sequence: null };
  return { id: newId("msg"), type: "message", role: "assistant", model: context.model, content: [], ...none };
}

function stopReason(step: ScriptStep): string {
  if (step.finish !== undefined) return step.finish;
  if (step.incomplete !== undefined) return step.incomplete === "max_output_tokens" ? "max_tokens" : step.incomplete;
  if (step.refusal !== undefined) return "refusal";
  return (step.tools ?? []).length > 0 ? "tool_use" : "end_turn";
}

/** This wire counts what was read from the cache beside its input tokens, not among them. */
function usageOf(step: ScriptStep, context: ReplyContext): Record<string, unknown> {
  const used = numbers(step, context);
  return {
    input_tokens: Math.max(0, used.in - used.cached),
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: used.cached,
    output_tokens: used.out,
  };
}
