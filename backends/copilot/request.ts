/**
 * The runtime's request as the provider is to get it: what the agent asks for put in, what the runtime adds by itself
 * taken out. The same conversation makes the same bytes, so that the provider's prompt cache can be hit.
 */
import type { StepInput } from "../backend.ts";
import { fitsStrictMode } from "../openai/schema.ts";
import { expandMarks } from "./attachments.ts";
import type { Wire } from "./connection.ts";

type Json = Record<string, unknown>;

export interface RequestParts {
  readonly input: StepInput;
  readonly wire: Wire;
  /** GitHub's models have settings that its runtime knows; those of another provider are not guessed. */
  readonly isGithub: boolean;
}

/** Changes the body and returns it. */
export function shapeRequest(body: Json, parts: RequestParts): Json {
  const messages = list(body[parts.wire === "responses" ? "input" : "messages"]);
  for (const message of messages) {
    // A field of the runtime's own, which strict servers refuse.
    delete message["__copilotMessageSource"];
    if (message["role"] === "user") message["content"] = userContent(message["content"], parts);
  }
  applySettings(body, parts);
  if (parts.wire === "anthropic_messages") leaveThinkingOut(body, messages);
  return body;
}

/** The runtime puts the time before each prompt. It is the runtime's idea, not the agent's or the person's. */
const CLOCK = /^<current_datetime>[^<]*<\/current_datetime>\n\n/;

function userContent(content: unknown, parts: RequestParts): unknown {
  const { transcript } = parts.input;
  if (typeof content === "string") {
    const text = content.replace(CLOCK, "");
    return expandMarks(text, transcript, parts.wire) ?? text;
  }
  return list(content).flatMap((part) => {
    const { text } = part;
    if (typeof text !== "string") return [part];
    const plain = text.replace(CLOCK, "");
    return expandMarks(plain, transcript, parts.wire) ?? [{ ...part, text: plain }];
  });
}

function applySettings(body: Json, { input, wire, isGithub }: RequestParts): void {
  const { temperature, topP, maxOutputTokens, reasoningEffort } = input.agent.modelSettings;
  const schema = input.agent.outputSchema;
  put(body, "temperature", temperature);
  put(body, "top_p", topP);
  const isPlain = reasoningEffort === undefined && !isGithub;
  if (isPlain || reasoningEffort === "none") dropReasoning(body, wire);
  if (wire === "responses") {
    put(body, "max_output_tokens", maxOutputTokens);
    body["prompt_cache_key"] = input.sessionId;
    if (reasoningEffort !== undefined) body["reasoning"] = { effort: reasoningEffort, summary: "auto" };
    if (schema !== undefined) body["text"] = { format: { type: "json_schema", ...named(schema) } };
  } else if (wire === "chat_completions") {
    // Not every server of this wire takes them, and nobody has asked for them.
    put(body, "frequency_penalty", undefined);
    put(body, "presence_penalty", undefined);
    put(body, "max_tokens", maxOutputTokens);
    put(body, "reasoning_effort", reasoningEffort ?? body["reasoning_effort"]);
    if (schema !== undefined) body["response_format"] = { type: "json_schema", json_schema: named(schema) };
  } else if (maxOutputTokens !== undefined) {
    body["max_tokens"] = maxOutputTokens; // This wire demands one, so the runtime's stays when the agent names none.
  }
}

/** A model that does not reason refuses to be told how much it should. */
function dropReasoning(body: Json, wire: Wire): void {
  if (wire === "responses") delete body["reasoning"];
  else if (wire === "chat_completions") delete body["reasoning_effort"];
  else delete body["thinking"];
}

/**
 * With thinking on, the wire wants the newest reply with calls to begin with its thinking. A conversation that was begun
 * anew has none, and this one request goes without.
 */
function leaveThinkingOut(body: Json, messages: readonly Json[]): void {
  const newest = list(messages.findLast((message) => message["role"] === "assistant")?.["content"]);
  const hasCalls = newest.some((part) => part["type"] === "tool_use");
  if (hasCalls && !/thinking/.test(String(newest[0]?.["type"]))) delete body["thinking"];
}

function named(schema: Record<string, unknown>): Json {
  return { name: "output", strict: fitsStrictMode(schema), schema };
}

function put(body: Json, field: string, value: unknown): void {
  if (value === undefined) delete body[field];
  else body[field] = value;
}

function list(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter((one): one is Json => typeof one === "object" && one !== null) : [];
}
