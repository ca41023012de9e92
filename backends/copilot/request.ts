/**
 * The runtime's request as the provider is to get it: what the agent asks for put in, what the runtime adds by itself
 * taken out. The same conversation makes the same bytes, so that the provider's prompt cache can be hit.
 */
import type { TranscriptMessage } from "../../contract/blocks.ts";
import type { StepInput } from "../backend.ts";
import { INTERRUPTED_NOTE } from "../interrupted-note.ts";
import { fitsStrictMode } from "../openai/schema.ts";
import { WireCallIds } from "../wire-call-ids.ts";
import { contentOf, promptOf } from "./attachments.ts";
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
  const prompts = new Prompts(parts);
  for (const message of messages) {
    // A field of the runtime's own, which strict servers refuse.
    delete message["__copilotMessageSource"];
    // A session that stayed open shows what its replies did not say; one that was resumed leaves it out.
    if (message["refusal"] === null) delete message["refusal"];
    if (message["role"] === "user") message["content"] = prompts.content(message["content"]);
  }
  if (!parts.isGithub) applyCallIds(messages);
  // Its fields come in one order from a session that was resumed, and in another from one that stayed open.
  if (parts.wire === "chat_completions") body["messages"] = messages.map(({ role, ...rest }) => ({ role, ...rest }));
  applySettings(body, parts);
  if (parts.wire === "anthropic") leaveThinkingOut(body, messages);
  return body;
}

/** The runtime puts the time before each prompt. It is the runtime's idea, not the agent's or the person's. */
const CLOCK = /^<current_datetime>[^<]*<\/current_datetime>\n\n/;
/** What the runtime puts between messages that it joins: one wire takes no two of the same role in a row. */
const JOINT = "\n\n\n";

interface Prompt {
  readonly text: string;
  /** Unless it is a note of ours, or words that are in no message. */
  readonly message?: TranscriptMessage;
}

interface Taken {
  readonly prompt: Prompt;
  readonly rest: string | undefined;
}

/** The texts of a person's messages, each by itself again, with what was attached to them. */
class Prompts {
  readonly #wire: Wire;
  readonly #newest: TranscriptMessage | undefined;
  readonly #prompts: readonly Prompt[];
  #next = 0;

  constructor({ input, wire }: RequestParts) {
    this.#wire = wire;
    this.#newest = input.transcript.at(-1);
    const prompts = input.transcript.map((message, at): Prompt => {
      if (message.role === "user") return { text: promptOf(message, at), message };
      return { text: message.interrupted === true ? INTERRUPTED_NOTE : "" };
    });
    this.#prompts = prompts.filter(({ text }) => text !== "");
  }

  content(content: unknown): unknown {
    if (typeof content !== "string") {
      return list(content).flatMap((part) =>
        typeof part["text"] === "string" ? this.#parts(part["text"], part) : [part],
      );
    }
    const parts = this.#parts(content, { type: "text" });
    const [only, ...others] = parts;
    // Text alone goes as a plain string, because not every server of this wire takes a list.
    return others.length === 0 && only?.["type"] === "text" ? only["text"] : parts;
  }

  #parts(text: string, part: Json): Json[] {
    return this.#split(text).flatMap(({ text: words, message }) =>
      message?.blocks.some((block) => block.type !== "text")
        ? contentOf(message, { wire: this.#wire, isNew: message === this.#newest })
        : [{ ...part, text: words }],
    );
  }

  #split(text: string): Prompt[] {
    const found: Prompt[] = [];
    for (let rest: string | undefined = text; rest !== undefined; ) {
      // A message that steers comes without a time, and what looks like one is then the person's.
      const words: string = rest.replace(CLOCK, "");
      const taken: Taken = this.#take(rest) ?? this.#take(words) ?? { prompt: { text: words }, rest: undefined };
      found.push(taken.prompt);
      rest = taken.rest;
    }
    return found;
  }

  /** The message that the text begins with, or is. They come in the transcript's order; some may be missing. */
  #take(text: string): Taken | undefined {
    for (let i = this.#next; i < this.#prompts.length; i++) {
      const prompt = this.#prompts[i];
      if (prompt === undefined || !text.startsWith(prompt.text)) continue;
      const { length } = prompt.text;
      if (text.length > length && !text.startsWith(JOINT, length)) continue;
      this.#next = i + 1;
      return { prompt, rest: text.length === length ? undefined : text.slice(length + JOINT.length) };
    }
    return undefined;
  }
}

/** In the fields of all three wires. */
function applyCallIds(messages: readonly Json[]): void {
  const ids = new WireCallIds();
  const apply = (part: Json, field: string, made: "called" | "answered"): void => {
    const id = part[field];
    if (typeof id === "string") part[field] = ids[made](id);
  };
  for (const message of messages) {
    if (message["type"] === "function_call") apply(message, "call_id", "called");
    if (message["type"] === "function_call_output") apply(message, "call_id", "answered");
    for (const call of list(message["tool_calls"])) apply(call, "id", "called");
    apply(message, "tool_call_id", "answered");
    for (const part of list(message["content"])) {
      if (part["type"] === "tool_use") apply(part, "id", "called");
      if (part["type"] === "tool_result") apply(part, "tool_use_id", "answered");
    }
  }
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
