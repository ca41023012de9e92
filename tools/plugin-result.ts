/** What a plugin's tool gave or threw, as text that a model can be shown. */
import { LIMITS } from "../contract/limits.ts";
import { failed } from "./failure.ts";
import type { ToolResult } from "./tool.ts";
import { headOf } from "./utf8.ts";

/** Of a message that is looked at. */
const MESSAGE_CHARACTERS = 16_000;
/** Room for the words that say what was cut. */
const WORDS_BYTES = 256;

/** A text as it is, any other value as JSON; what cannot be written so is an error. */
export function resultOf(name: string, value: unknown): ToolResult {
  if (value === undefined) return { outcome: "ok", text: `${name} is done; it has no result.` };
  if (typeof value === "string") return { outcome: "ok", text: bounded(value) };
  const unusable = (why: string): ToolResult =>
    failed(`${name} has run, but its result cannot be written as JSON: ${why}.`);
  try {
    const json: string | undefined = JSON.stringify(value);
    return json === undefined ? unusable(`it is a ${typeof value}`) : { outcome: "ok", text: bounded(json) };
  } catch (error) {
    return unusable(messageOf(error));
  }
}

/** The message of what was thrown, without a stack. */
export function messageOf(thrown: unknown): string {
  const lines = wordsOf(thrown).split("\n");
  const message = lines.filter((line) => !/^\s+at .*(:\d+:\d+\)?|<anonymous>\)?|\[native code\]\)?)$/.test(line));
  return message.join("\n").trim().slice(0, MESSAGE_CHARACTERS).toWellFormed() || "it said nothing about why";
}

function wordsOf(thrown: unknown): string {
  try {
    if (typeof thrown === "string") return thrown;
    if (typeof thrown === "object" && thrown !== null && "message" in thrown) {
      const name = "name" in thrown ? String(thrown.name) : "";
      return String(thrown.message) || name;
    }
    return JSON.stringify(thrown) ?? String(thrown);
  } catch {
    return "what it threw cannot be shown";
  }
}

/** Whole characters only, and none that a database refuses. */
function bounded(text: string): string {
  const clean = text.replaceAll("\0", "\ufffd").toWellFormed();
  // Most results are short, and a character takes at most 3 bytes in UTF-8 per unit.
  if (clean.length * 3 <= LIMITS.toolResultBytes) return clean;
  const bytes = Buffer.from(clean);
  if (bytes.length <= LIMITS.toolResultBytes) return clean;
  const head = headOf(bytes, LIMITS.toolResultBytes - WORDS_BYTES);
  const words = `[the result has ${bytes.length} bytes; the first ${head.length} are shown, and the rest is not kept]`;
  return `${Buffer.from(head).toString("utf8")}\n${words}`;
}
