/**
 * Images and files of a person's message, on their way past the runtime.
 *
 * The runtime is given a mark in their place, and in the request to the provider the message is exchanged for its blocks.
 * So the runtime's log holds no base64, the order of text and images stays as it was written, and each wire gets images
 * and files in its own form, links included, which the runtime's own attachments cannot do.
 */
import type { FileBlock, ImageBlock, TranscriptMessage } from "../../contract/blocks.ts";
import { unshownFile } from "../unshown-file.ts";
import type { Wire } from "./connection.ts";

type Json = Readonly<Record<string, unknown>>;

/** A person's message as the runtime is given it. `at` is its place in the transcript, which tells its marks from those of others. */
export function promptOf(message: TranscriptMessage, at: number): string {
  return message.blocks
    .map((block, i) => {
      if (block.type === "text") return block.text;
      if (block.type === "image" || block.type === "file") return `[[attachment ${at}.${i}]]`;
      throw new Error(`a user's message holds a ${block.type} block`);
    })
    .filter((text) => text !== "")
    .join("\n\n");
}

/** The message's content in the wire's form. `isNew`: no other came after it. */
export function contentOf(message: TranscriptMessage, at: { readonly wire: Wire; readonly isNew: boolean }): Json[] {
  const { wire, isNew } = at;
  // Some providers refuse an empty text, and with it the whole conversation.
  const said = message.blocks.filter((block) => block.type !== "text" || block.text !== "");
  return said.map((block) => {
    if (block.type === "text") return { type: wire === "responses" ? "input_text" : "text", text: block.text };
    if (block.type === "image" || block.type === "file") return attachmentPart(block, wire, isNew);
    throw new Error(`a user's message holds a ${block.type} block`);
  });
}

function attachmentPart(block: ImageBlock | FileBlock, wire: Wire, isNew: boolean): Json {
  if (wire === "responses") return responsesPart(block);
  return wire === "chat_completions" ? chatPart(block, isNew) : anthropicPart(block, isNew);
}

function responsesPart(block: ImageBlock | FileBlock): Json {
  if (block.type === "image") return { type: "input_image", detail: block.detail ?? "auto", image_url: link(block) };
  // A link must come without a filename: the provider refuses both together.
  return block.url === undefined
    ? { type: "input_file", filename: block.filename, file_data: link(block) }
    : { type: "input_file", file_url: block.url };
}

function chatPart(block: ImageBlock | FileBlock, isNew: boolean): Json {
  if (block.type === "image") {
    const detail = block.detail === undefined ? {} : { detail: block.detail };
    return { type: "image_url", image_url: { url: link(block), ...detail } };
  }
  if (block.url !== undefined) {
    const why = "is a link, which the Chat Completions API does not take; send its data instead";
    return { type: "text", text: unshownFile(block, { isNew, why }) };
  }
  return { type: "file", file: { filename: block.filename, file_data: link(block) } };
}

function anthropicPart(block: ImageBlock | FileBlock, isNew: boolean): Json {
  const type = block.type === "image" ? "image" : "document";
  const title = block.type === "file" ? { title: block.filename } : {};
  if (block.url !== undefined) return { type, source: { type: "url", url: block.url }, ...title };
  const { mediaType = "application/octet-stream", data = "" } = block;
  if (block.type === "image" || mediaType === "application/pdf") {
    return { type, source: { type: "base64", media_type: mediaType, data }, ...title };
  }
  if (!/^text\/|^application\/(json|xml|yaml|x-yaml|javascript)$/.test(mediaType)) {
    const why = `is ${mediaType}, and this provider takes PDF and text alone`;
    return { type: "text", text: unshownFile(block, { isNew, why }) };
  }
  const text = Buffer.from(data, "base64").toString("utf8");
  return { type, source: { type: "text", media_type: "text/plain", data: text }, ...title };
}

function link(block: ImageBlock | FileBlock): string {
  return block.url ?? `data:${block.mediaType ?? "application/octet-stream"};base64,${block.data ?? ""}`;
}
