/**
 * Images and files of a person's message, on their way past the runtime.
 *
 * The runtime is given a mark in their place, and the mark is exchanged for the bytes in the request to the provider.
 * So its log holds no base64, the order of text and images stays as it was written, and each wire gets images and
 * files in its own form, links included, which the runtime's own attachments cannot do.
 */
import type { Block, FileBlock, ImageBlock, TranscriptMessage } from "../../contract/blocks.ts";
import { BackendError } from "../backend.ts";
import type { Wire } from "./connection.ts";

type Json = Readonly<Record<string, unknown>>;

const MARK = /\[\[attachment (\d{1,9})\.(\d{1,4})\]\]/;

/** A person's message as the runtime is given it. `at` is its place in the transcript, by which the marks find it again. */
export function promptOf(message: TranscriptMessage, at: number): string {
  return message.blocks
    .map((block, i) => {
      if (block.type === "text") return block.text;
      if (block.type === "image" || block.type === "file") return `[[attachment ${at}.${i}]]`;
      throw new Error(`a user's message holds a ${block.type} block`);
    })
    .join("\n\n");
}

/** The text's parts in the wire's form; undefined when it holds no mark and can stay as it is. */
export function expandMarks(text: string, transcript: readonly TranscriptMessage[], wire: Wire): Json[] | undefined {
  const parts: Json[] = [];
  let rest = text;
  let seen = "";
  for (let match = MARK.exec(rest); match !== null; match = MARK.exec(rest)) {
    const before = rest.slice(0, match.index);
    const block = attachmentAt(transcript, Number(match[1]), Number(match[2]));
    rest = rest.slice(match.index + match[0].length);
    // A person may write what looks like a mark.
    if (block === undefined) {
      seen += before + match[0];
      continue;
    }
    parts.push(...textPart(seen + before, wire), attachmentPart(block, wire));
    seen = "";
  }
  if (parts.length === 0) return undefined;
  return [...parts, ...textPart(seen + rest, wire)];
}

function attachmentAt(
  transcript: readonly TranscriptMessage[],
  message: number,
  index: number,
): ImageBlock | FileBlock | undefined {
  const block: Block | undefined = transcript[message]?.blocks[index];
  return block?.type === "image" || block?.type === "file" ? block : undefined;
}

function textPart(text: string, wire: Wire): Json[] {
  const trimmed = text.replace(/^\n\n|\n\n$/g, "");
  return trimmed === "" ? [] : [{ type: wire === "responses" ? "input_text" : "text", text: trimmed }];
}

function attachmentPart(block: ImageBlock | FileBlock, wire: Wire): Json {
  if (wire === "responses") return responsesPart(block);
  return wire === "chat_completions" ? chatPart(block) : anthropicPart(block);
}

function responsesPart(block: ImageBlock | FileBlock): Json {
  if (block.type === "image") return { type: "input_image", detail: block.detail ?? "auto", image_url: link(block) };
  // A link must come without a filename: the provider refuses both together.
  return block.url === undefined
    ? { type: "input_file", filename: block.filename, file_data: link(block) }
    : { type: "input_file", file_url: block.url };
}

function chatPart(block: ImageBlock | FileBlock): Json {
  if (block.type === "image") {
    const detail = block.detail === undefined ? {} : { detail: block.detail };
    return { type: "image_url", image_url: { url: link(block), ...detail } };
  }
  if (block.url !== undefined) {
    throw new BackendError(
      "INVALID_INPUT",
      `the file ${block.filename} is a link, which the Chat Completions API does not take; send its data instead`,
    );
  }
  return { type: "file", file: { filename: block.filename, file_data: link(block) } };
}

function anthropicPart(block: ImageBlock | FileBlock): Json {
  const type = block.type === "image" ? "image" : "document";
  const title = block.type === "file" ? { title: block.filename } : {};
  if (block.url !== undefined) return { type, source: { type: "url", url: block.url }, ...title };
  const { mediaType = "application/octet-stream", data = "" } = block;
  if (block.type === "image" || mediaType === "application/pdf") {
    return { type, source: { type: "base64", media_type: mediaType, data }, ...title };
  }
  if (!/^text\/|^application\/(json|xml|yaml|x-yaml|javascript)$/.test(mediaType)) {
    throw new BackendError(
      "INVALID_INPUT",
      `the file ${block.filename} is ${mediaType}, and this provider takes PDF and text alone`,
    );
  }
  const text = Buffer.from(data, "base64").toString("utf8");
  return { type, source: { type: "text", media_type: "text/plain", data: text }, ...title };
}

function link(block: ImageBlock | FileBlock): string {
  return block.url ?? `data:${block.mediaType ?? "application/octet-stream"};base64,${block.data ?? ""}`;
}
