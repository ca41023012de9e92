/** How a scripted step looks on the two OpenAI wires: the frames of a stream, or one JSON document. */
import { randomBytes } from "node:crypto";
import type { ScriptStep } from "./model-script.ts";

/** One write to the stream, or what happens to the connection instead of more writes. */
export type Frame = string | "CUT" | "STALL" | "EOF";

export interface ReplyContext {
  readonly model: string;
  /** Characters per delta. */
  readonly piece: number;
  /** Size of the request, of which the input tokens are guessed. */
  readonly bytes: number;
  readonly includeUsage: boolean;
}

interface Item {
  readonly type: "reasoning" | "message" | "function_call";
  readonly id: string;
  readonly [key: string]: unknown;
}

export function newId(prefix: string): string {
  return `${prefix}_${randomBytes(12).toString("hex")}`;
}

export function piecesOf(text: string, size: number): string[] {
  const characters = Array.from(text);
  const pieces: string[] = [];
  for (let i = 0; i < characters.length; i += size) pieces.push(characters.slice(i, i + size).join(""));
  return pieces;
}

export function argumentsOf(tool: NonNullable<ScriptStep["tools"]>[number]): string {
  return tool.rawArgs ?? JSON.stringify(tool.args ?? {});
}

export function numbers(
  step: ScriptStep,
  context: Pick<ReplyContext, "bytes">,
): { in: number; out: number; cached: number; thought: number } {
  return {
    in: step.usage?.in ?? Math.ceil(context.bytes / 4),
    out: step.usage?.out ?? 10,
    cached: step.usage?.cached ?? 0,
    thought: step.usage?.reasoning ?? 0,
  };
}

/** How a broken step breaks off, after its text. */
export function breakOf(step: ScriptStep): Frame | undefined {
  if (step.stall === true) return "STALL";
  if (step.cut === true) return "CUT";
  return step.eofNoEnd === true ? "EOF" : undefined;
}

export function* deltas(text: string, size: number, frame: (delta: string) => string): Generator<Frame> {
  for (const delta of piecesOf(text, size)) yield frame(delta);
}

// Responses

function itemsOf(step: ScriptStep): readonly Item[] {
  const items: Item[] = [];
  if (step.think !== undefined) {
    const id = newId("rs");
    const encrypted = Buffer.from(`thought:${step.think}`).toString("base64");
    const summary = step.think === "" ? [] : [{ type: "summary_text", text: step.think }];
    items.push({ type: "reasoning", id, summary, encrypted_content: encrypted });
  }
  const content = [
    ...(step.text === undefined ? [] : [{ type: "output_text", text: step.text, annotations: [], logprobs: [] }]),
    ...(step.refusal === undefined ? [] : [{ type: "refusal", refusal: step.refusal }]),
  ];
  if (content.length > 0) {
    items.push({ type: "message", id: newId("msg"), role: "assistant", status: "completed", content });
  }
  for (const tool of step.tools ?? []) {
    const call = { name: tool.name, call_id: newId("call"), arguments: argumentsOf(tool), status: "completed" };
    items.push({ type: "function_call", id: newId("fc"), ...call });
  }
  return items;
}

function responseOf(step: ScriptStep, context: ReplyContext, output: readonly Item[]): Record<string, unknown> {
  const used = numbers(step, context);
  return {
    id: newId("resp"),
    object: "response",
    created_at: Math.floor(Date.now() / 1000),
    model: context.model,
    status: "completed",
    output,
    error: null,
    incomplete_details: null,
    usage: {
      input_tokens: used.in,
      input_tokens_details: { cached_tokens: used.cached },
      output_tokens: used.out,
      output_tokens_details: { reasoning_tokens: used.thought },
      total_tokens: used.in + used.out,
    },
  };
}

/** The non-streaming reply of the Responses wire. */
export function responsesDocument(step: ScriptStep, context: ReplyContext): Record<string, unknown> {
  return responseOf(step, context, itemsOf(step));
}

/** The streamed reply of the Responses wire. */
export function* responsesFrames(step: ScriptStep, context: ReplyContext): Generator<Frame> {
  let sequence = 0;
  const event = (type: string, fields: object): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...fields })}\n\n`;
  const items = itemsOf(step);
  const whole = responseOf(step, context, items);
  const open = { ...whole, status: "in_progress", output: [], usage: null };
  const broken = breakOf(step);
  yield event("response.created", { response: open }) + event("response.in_progress", { response: open });
  let told = false;
  for (const [index, item] of items.entries()) {
    if (item.type === "function_call" && broken !== undefined && !told) {
      told = true;
      yield broken;
      return;
    }
    yield* itemFrames(item, { index, event, piece: context.piece, broken });
    if (item.type === "message" && broken !== undefined) return;
  }
  if (broken !== undefined) yield broken;
  else if (step.errorEvent !== undefined) yield event("error", { param: null, ...step.errorEvent });
  else if (step.failed !== undefined) {
    yield event("response.failed", { response: { ...whole, status: "failed", error: step.failed } });
  } else if (step.incomplete !== undefined) {
    const response = { ...whole, status: "incomplete", incomplete_details: { reason: step.incomplete } };
    yield event("response.incomplete", { response });
  } else yield event("response.completed", { response: whole });
}

interface ItemContext {
  readonly index: number;
  readonly event: (type: string, fields: object) => string;
  readonly piece: number;
  readonly broken: Frame | undefined;
}

function* itemFrames(item: Item, context: ItemContext): Generator<Frame> {
  const { index: output_index, event, piece } = context;
  const at = { item_id: item.id, output_index };
  const done = (): string => event("response.output_item.done", { output_index, item });
  if (item.type === "reasoning") {
    yield event("response.output_item.added", {
      output_index,
      item: { ...item, summary: [], encrypted_content: null },
    });
    for (const [summary_index, part] of (item["summary"] as { text: string }[]).entries()) {
      yield event("response.reasoning_summary_part.added", { ...at, summary_index, part: { ...part, text: "" } });
      yield* deltas(part.text, piece, (delta) =>
        event("response.reasoning_summary_text.delta", { ...at, summary_index, delta }),
      );
      yield event("response.reasoning_summary_text.done", { ...at, summary_index, text: part.text });
      yield event("response.reasoning_summary_part.done", { ...at, summary_index, part });
    }
    yield done();
    return;
  }
  if (item.type === "function_call") {
    const args = item["arguments"] as string;
    yield event("response.output_item.added", {
      output_index,
      item: { ...item, status: "in_progress", arguments: "" },
    });
    yield* deltas(args, piece, (delta) => event("response.function_call_arguments.delta", { ...at, delta }));
    yield event("response.function_call_arguments.done", { ...at, arguments: args }) + done();
    return;
  }
  yield event("response.output_item.added", { output_index, item: { ...item, status: "in_progress", content: [] } });
  for (const [content_index, part] of (
    item["content"] as { type: string; text?: string; refusal?: string }[]
  ).entries()) {
    const kind = part.type === "refusal" ? "refusal" : "text";
    const name = kind === "refusal" ? "refusal" : "output_text";
    const text = part[kind] ?? "";
    yield event("response.content_part.added", { ...at, content_index, part: { ...part, [kind]: "" } });
    yield* deltas(text, piece, (delta) => event(`response.${name}.delta`, { ...at, content_index, delta }));
    if (context.broken !== undefined) {
      yield context.broken;
      return;
    }
    yield event(`response.${name}.done`, { ...at, content_index, [kind]: text });
    yield event("response.content_part.done", { ...at, content_index, part });
  }
  yield done();
}

// Chat Completions

function finishOf(step: ScriptStep): string {
  if (step.finish !== undefined) return step.finish;
  if (step.incomplete !== undefined) return step.incomplete === "max_output_tokens" ? "length" : step.incomplete;
  return (step.tools ?? []).length > 0 ? "tool_calls" : "stop";
}

function chatUsage(step: ScriptStep, context: ReplyContext): Record<string, unknown> {
  const used = numbers(step, context);
  return {
    prompt_tokens: used.in,
    completion_tokens: used.out,
    total_tokens: used.in + used.out,
    prompt_tokens_details: { cached_tokens: used.cached },
    completion_tokens_details: { reasoning_tokens: used.thought },
  };
}

/** The non-streaming reply of the Chat Completions wire. */
export function chatDocument(step: ScriptStep, context: ReplyContext): Record<string, unknown> {
  const calls = (step.tools ?? []).map((tool) => ({
    id: newId("call"),
    type: "function",
    function: { name: tool.name, arguments: argumentsOf(tool) },
  }));
  const message = {
    role: "assistant",
    content: step.text ?? null,
    refusal: step.refusal ?? null,
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
  return {
    id: newId("chatcmpl"),
    object: "chat.completion",
    created: Math.floor(Date.now() / 1000),
    model: context.model,
    choices: [{ index: 0, message, finish_reason: finishOf(step), logprobs: null }],
    usage: chatUsage(step, context),
  };
}

/** The streamed reply of the Chat Completions wire. */
export function* chatFrames(step: ScriptStep, context: ReplyContext): Generator<Frame> {
  const base = {
    id: newId("chatcmpl"),
    object: "chat.completion.chunk",
    created: Math.floor(Date.now() / 1000),
    model: context.model,
  };
  const data = (fields: object): string => `data: ${JSON.stringify({ ...base, ...fields })}\n\n`;
  const chunk = (delta: object, finish_reason: string | null = null): string =>
    data({ choices: [{ index: 0, delta, finish_reason, logprobs: null }] });
  yield chunk({ role: "assistant", content: "" });
  yield* deltas(step.think ?? "", context.piece, (reasoning_content) => chunk({ reasoning_content }));
  yield* deltas(step.text ?? "", context.piece, (content) => chunk({ content }));
  yield* deltas(step.refusal ?? "", context.piece, (refusal) => chunk({ refusal }));
  const broken = breakOf(step);
  if (broken !== undefined) {
    yield broken;
    return;
  }
  const error = step.errorEvent ?? step.failed;
  if (error !== undefined) {
    yield `data: ${JSON.stringify({ error })}\n\n`;
    return;
  }
  for (const [index, tool] of (step.tools ?? []).entries()) {
    const call = { index, id: newId("call"), type: "function", function: { name: tool.name, arguments: "" } };
    yield chunk({ tool_calls: [call] });
    yield* deltas(argumentsOf(tool), context.piece, (piece) =>
      chunk({ tool_calls: [{ index, function: { arguments: piece } }] }),
    );
  }
  yield chunk({}, finishOf(step));
  if (context.includeUsage) yield data({ choices: [], usage: chatUsage(step, context) });
  yield "data: [DONE]\n\n";
}
