/** The messages of a transcript as the two wires want them. */
import type {
  Block,
  FileBlock,
  ImageBlock,
  ThinkingBlock,
  ToolCallBlock,
  TranscriptMessage,
} from "../../contract/blocks.ts";
import { INTERRUPTED_NOTE } from "../interrupted-note.ts";
import { shownToolName } from "../tool-name.ts";
import { unshownFile } from "../unshown-file.ts";
import { wireCallId } from "../wire-call-ids.ts";

export type Wire = "responses" | "chat_completions";
export type Json = Readonly<Record<string, unknown>>;

/** Whether it brings something of the provider's own that it wants to see again. */
export function carriesReasoning(block: Block, wire: Wire): boolean {
  if (block.type !== "thinking") return false;
  return (wire === "responses" ? reasoningItem(block) : chatReasoning(block)) !== undefined;
}

export function itemsOf(
  message: TranscriptMessage,
  at: { readonly wire: Wire; readonly isNew: boolean },
): readonly Json[] {
  const items = at.wire === "responses" ? responsesItems(message) : chatMessages(message, at.isNew);
  if (message.interrupted !== true || items.length === 0) return items;
  // Of the user's role: in the model's own words it would learn to write so itself.
  return [...items, { role: "user", content: INTERRUPTED_NOTE }];
}

// Responses

function responsesItems(message: TranscriptMessage): readonly Json[] {
  if (message.role === "user") {
    const blocks = message.blocks.filter(isSaid);
    return blocks.length === 0 ? [] : [{ role: "user", content: blocks.map(inputContent) }];
  }
  if (message.role === "tool") {
    return message.blocks.map((block) => {
      const result = asKind(block, "tool_result", message);
      return { type: "function_call_output", call_id: wireCallId(result.callId), output: result.text };
    });
  }
  const items = message.blocks.map((block) => outputItem(block, message));
  // A reasoning item without the item that it led to is refused by the provider.
  const last = items.findLastIndex((item) => item !== undefined && item["type"] !== "reasoning");
  return items.slice(0, last + 1).filter((item) => item !== undefined);
}

function inputContent(block: Block): Json {
  switch (block.type) {
    case "text":
      return { type: "input_text", text: block.text };
    case "image":
      return { type: "input_image", detail: block.detail ?? "auto", image_url: link(block) };
    case "file":
      // A link must come without a filename: the provider refuses both together.
      return block.url === undefined
        ? { type: "input_file", filename: block.filename, file_data: link(block) }
        : { type: "input_file", file_url: block.url };
    default:
      throw new Error(`a user's message holds a ${block.type} block`);
  }
}

function outputItem(block: Block, message: TranscriptMessage): Json | undefined {
  if (block.type === "thinking") return reasoningItem(block);
  if (block.type === "tool_call") {
    const name = shownToolName(block.name);
    return {
      type: "function_call",
      call_id: wireCallId(block.callId),
      name,
      arguments: argumentsText(block),
      status: "completed",
    };
  }
  const { text } = asKind(block, "text", message);
  if (text === "") return undefined;
  const content = [{ type: "output_text", text, annotations: [] }];
  return { type: "message", role: "assistant", status: "completed", content };
}

/** Only an item that carries its encrypted content can be sent back: the provider keeps nothing, so its id alone finds nothing. */
function reasoningItem(block: ThinkingBlock): Json | undefined {
  if (block.opaque?.backend !== "openai") return undefined;
  const item = block.opaque.item as Json | null;
  return typeof item === "object" && typeof item?.["encrypted_content"] === "string" ? item : undefined;
}

// Chat Completions

function chatMessages(message: TranscriptMessage, isNew: boolean): readonly Json[] {
  if (message.role === "tool") {
    return message.blocks.map((block) => {
      const result = asKind(block, "tool_result", message);
      return { role: "tool", tool_call_id: wireCallId(result.callId), content: result.text };
    });
  }
  if (message.role === "user") {
    const blocks = message.blocks.filter(isSaid);
    if (blocks.length === 0) return [];
    const [first, ...others] = blocks;
    // Text alone goes as a plain string, because not every server of this wire takes a list.
    const plain = first?.type === "text" && others.length === 0;
    return [{ role: "user", content: plain ? first.text : blocks.map((block) => chatContent(block, isNew)) }];
  }
  const texts: string[] = [];
  const calls: Json[] = [];
  const reasoning: Record<string, unknown> = {};
  for (const block of message.blocks) {
    if (block.type === "thinking") {
      for (const [field, value] of Object.entries(chatReasoning(block) ?? {}))
        reasoning[field] = joined(reasoning[field], value);
      continue;
    }
    if (block.type === "tool_call") {
      const call = { name: shownToolName(block.name), arguments: argumentsText(block) };
      calls.push({ id: wireCallId(block.callId), type: "function", function: call });
    } else texts.push(asKind(block, "text", message).text);
  }
  const text = texts.filter((part) => part !== "").join("\n\n");
  if (text === "" && calls.length === 0) return [];
  return [
    {
      role: "assistant",
      ...reasoning,
      content: text === "" ? null : text,
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    },
  ];
}

/** What came with a thought under names of the server's own, which it wants to see again (DeepSeek, Kimi, OpenRouter). */
function chatReasoning(block: ThinkingBlock): Json | undefined {
  if (block.opaque?.backend !== "openai") return undefined;
  const { chat } = (block.opaque.item ?? {}) as { readonly chat?: Json };
  return typeof chat === "object" && chat !== null ? chat : undefined;
}

function joined(before: unknown, more: unknown): unknown {
  if (typeof before === "string" && typeof more === "string") return before + more;
  return Array.isArray(before) && Array.isArray(more) ? [...before, ...more] : more;
}

function chatContent(block: Block, isNew: boolean): Json {
  switch (block.type) {
    case "text":
      return { type: "text", text: block.text };
    case "image": {
      const detail = block.detail === undefined ? {} : { detail: block.detail };
      return { type: "image_url", image_url: { url: link(block), ...detail } };
    }
    case "file":
      if (block.url !== undefined) {
        const why = "is a link, which the Chat Completions API does not take; send its data, or use the Responses API";
        return { type: "text", text: unshownFile(block, { isNew, why }) };
      }
      return { type: "file", file: { filename: block.filename, file_data: link(block) } };
    default:
      throw new Error(`a user's message holds a ${block.type} block`);
  }
}

// Both

/** Some providers refuse an empty text, and with it the whole conversation. */
function isSaid(block: Block): boolean {
  return block.type !== "text" || block.text !== "";
}

function asKind<K extends Block["type"]>(
  block: Block,
  type: K,
  message: TranscriptMessage,
): Extract<Block, { readonly type: K }> {
  if (block.type === type) return block as Extract<Block, { readonly type: K }>;
  throw new Error(`a message of role ${message.role} holds a ${block.type} block`);
}

function link(block: ImageBlock | FileBlock): string {
  return block.url ?? `data:${block.mediaType ?? "application/octet-stream"};base64,${block.data ?? ""}`;
}

/** Always valid JSON: some providers parse what the model once wrote, and would refuse the whole conversation for ever. */
function argumentsText(call: ToolCallBlock): string {
  return JSON.stringify(typeof call.arguments === "string" ? { malformed_arguments: call.arguments } : call.arguments);
}
