/** What a model was shown, read from a request of any wire into one form, so that an assertion is the same for every wire. */

/** Neighbours of one role are one entry, because a wire may carry them in one message or in several. */
export type SeenEntry =
  | {
      readonly role: "user";
      readonly texts: string[];
      /** As links or data URLs. */
      readonly images: string[];
      /** Names of files. */
      readonly files: string[];
    }
  | {
      readonly role: "assistant";
      readonly texts: string[];
      readonly thoughts: string[];
      readonly calls: { readonly id: string; readonly name: string; readonly arguments: unknown }[];
    }
  | { readonly role: "results"; readonly results: { readonly id: string; readonly text: string }[] };

export interface SeenConversation {
  readonly model: string;
  /** Every text of a system or developer role, wherever it stood. */
  readonly system: readonly string[];
  readonly entries: readonly SeenEntry[];
  /** Names, in their order. */
  readonly tools: readonly string[];
  /** The JSON schema that the provider itself was given for the answer. */
  readonly outputSchema: unknown;
}

type Json = Readonly<Record<string, unknown>>;
type Of<R extends SeenEntry["role"]> = Extract<SeenEntry, { readonly role: R }>;

/** Whether a path is one of the three that call a model. */
export function isModelCall(path: string): boolean {
  return /\/(responses|chat\/completions|messages)(\?.*)?$/.test(path);
}

/** Reads the body of a model call; the path says which wire it is. */
export function readConversation(path: string, body: unknown): SeenConversation {
  const request = asObject(body);
  const collected = new Collected();
  if (/\/responses(\?.*)?$/.test(path)) readResponses(request, collected);
  else if (/\/messages(\?.*)?$/.test(path)) readAnthropic(request, collected);
  else readChat(request, collected);
  const tools = list(request["tools"]).map((tool) => String(tool["name"] ?? asObject(tool["function"])["name"]));
  return { model: String(request["model"]), ...collected, tools, outputSchema: schemaOf(request) };
}

/** The conversation in lines, for comparing one with what it should be: `user: hello`, `call: look {"at":1}`, `result: seen`. */
export function linesOf({ entries }: Pick<SeenConversation, "entries">): readonly string[] {
  return entries.flatMap(linesOfEntry);
}

function linesOfEntry(entry: SeenEntry): readonly string[] {
  if (entry.role === "user") return entry.texts.map((text) => `user: ${text}`);
  if (entry.role === "results") return entry.results.map((result) => `result: ${result.text}`);
  const calls = entry.calls.map((call) => `call: ${call.name} ${JSON.stringify(call.arguments)}`);
  return [...entry.texts.map((text) => `assistant: ${text}`), ...calls];
}

/** A body that the script reader finds its place in as in this conversation: for wires whose own bytes it cannot walk through. */
export function asScriptBody({ entries }: Pick<SeenConversation, "entries">): Buffer {
  return Buffer.from(JSON.stringify({ messages: entries.map(asChatMessage) }));
}

function asChatMessage(entry: SeenEntry): Json {
  if (entry.role === "user") return { role: "user", content: entry.texts.join("\n") };
  if (entry.role === "results") return { role: "tool", content: entry.results.map((result) => result.id).join() };
  return { role: "assistant", calls: entry.calls.map((call) => call.id) };
}

/** Entries while they are gathered. */
class Collected {
  readonly system: string[] = [];
  readonly entries: SeenEntry[] = [];

  user(): Of<"user"> {
    return this.#last({ role: "user", texts: [], images: [], files: [] });
  }

  assistant(): Of<"assistant"> {
    return this.#last({ role: "assistant", texts: [], thoughts: [], calls: [] });
  }

  result(id: unknown, text: string): void {
    this.#last<"results">({ role: "results", results: [] }).results.push({ id: String(id), text });
  }

  #last<R extends SeenEntry["role"]>(fresh: Of<R>): Of<R> {
    const last = this.entries.at(-1);
    if (last?.role === fresh.role) return last as Of<R>;
    this.entries.push(fresh);
    return fresh;
  }
}

function readResponses(request: Json, into: Collected): void {
  if (typeof request["instructions"] === "string") into.system.push(request["instructions"]);
  const input = request["input"];
  if (typeof input === "string") into.user().texts.push(input);
  for (const item of list(input)) {
    switch (item["type"] ?? "message") {
      case "message":
        readMessage(item, into);
        break;
      case "reasoning":
        into.assistant().thoughts.push(...list(item["summary"]).map((part) => String(part["text"])));
        break;
      case "function_call":
        addCall(into, { id: item["call_id"], name: item["name"], written: item["arguments"] });
        break;
      case "function_call_output":
        into.result(item["call_id"], textOf(item["output"]));
        break;
      default:
        throw new Error(`a request holds an item of an unknown type: ${JSON.stringify(item).slice(0, 200)}`);
    }
  }
}

function readChat(request: Json, into: Collected): void {
  for (const message of list(request["messages"])) {
    if (message["role"] === "tool") into.result(message["tool_call_id"], textOf(message["content"]));
    else readMessage(message, into);
    for (const call of list(message["tool_calls"])) {
      const { name, arguments: written } = asObject(call["function"]);
      addCall(into, { id: call["id"], name, written });
    }
  }
}

function readAnthropic(request: Json, into: Collected): void {
  into.system.push(...textsOf(request["system"]));
  for (const message of list(request["messages"])) readMessage(message, into);
}

/** A message of a role with text, or with parts of any wire's kinds. */
function readMessage(message: Json, into: Collected): void {
  const { role, content } = message;
  const parts = typeof content === "string" ? [{ type: "text", text: content }] : list(content);
  for (const part of parts) {
    if (role === "system" || role === "developer") into.system.push(String(part["text"]));
    else if (role === "assistant") readAssistantPart(part, into);
    else readUserPart(part, into);
  }
}

function readAssistantPart(part: Json, into: Collected): void {
  switch (part["type"]) {
    case "thinking":
      into.assistant().thoughts.push(String(part["thinking"]));
      break;
    case "tool_use":
      addCall(into, { id: part["id"], name: part["name"], written: part["input"] });
      break;
    default:
      if (part["text"] !== "") into.assistant().texts.push(String(part["text"] ?? part["refusal"]));
  }
}

/** The Copilot runtime writes the time before a message; it is the runtime's, and no part of what the user said. */
const CLOCK = /^<current_datetime>[^<]*<\/current_datetime>\s*/;

function readUserPart(part: Json, into: Collected): void {
  switch (part["type"]) {
    case "text":
    case "input_text":
      into.user().texts.push(String(part["text"]).replace(CLOCK, ""));
      break;
    case "input_image":
      into.user().images.push(String(part["image_url"]));
      break;
    case "image_url":
      into.user().images.push(String(asObject(part["image_url"])["url"]));
      break;
    case "image": {
      const { url, media_type: mediaType, data } = asObject(part["source"]);
      into.user().images.push(typeof url === "string" ? url : `data:${mediaType};base64,${data}`);
      break;
    }
    case "file":
    case "input_file":
      into.user().files.push(String(part["filename"] ?? asObject(part["file"])["filename"]));
      break;
    case "document":
      into.user().files.push(String(part["title"]));
      break;
    case "tool_result":
      into.result(part["tool_use_id"], textOf(part["content"]));
      break;
    default:
      throw new Error(`a user's message holds a part of an unknown type: ${JSON.stringify(part).slice(0, 200)}`);
  }
}

function addCall(
  into: Collected,
  call: { readonly id: unknown; readonly name: unknown; readonly written: unknown },
): void {
  const { id, name, written } = call;
  into.assistant().calls.push({ id: String(id), name: String(name), arguments: parsed(written) });
}

/** What a wire carries as JSON text; text that is none stays text. */
function parsed(written: unknown): unknown {
  if (typeof written !== "string") return written;
  try {
    return JSON.parse(written) as unknown;
  } catch {
    return written;
  }
}

function schemaOf(request: Json): unknown {
  const chat = asObject(asObject(request["response_format"])["json_schema"])["schema"];
  const anthropic = asObject(asObject(request["output_config"])["format"])["schema"];
  return asObject(asObject(request["text"])["format"])["schema"] ?? chat ?? anthropic;
}

function textOf(content: unknown): string {
  return textsOf(content).join("\n");
}

function textsOf(content: unknown): readonly string[] {
  if (typeof content === "string") return content === "" ? [] : [content];
  return list(content).map((part) => String(part["text"]));
}

function list(value: unknown): readonly Json[] {
  return Array.isArray(value) ? (value as Json[]) : [];
}

function asObject(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}
