/**
 * Looks into what a provider has sent. Gateways leave fields out, put null or another type into them, or a list of parts
 * where a text stands: nothing here throws, whatever it is given, and what can be read as text is read.
 */
import { jsonFault } from "../../contract/bounded-json.ts";

export type Raw = Readonly<Record<string, unknown>>;

/** The object, or an empty one for all that is none. */
export function record(value: unknown): Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Raw) : {};
}

/** The list; one object alone counts as a list of it. */
export function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return typeof value === "object" && value !== null ? [value] : [];
}

/** A text, or "" for all that is none. */
export function word(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** A place in a list, which some write as text. */
export function place(value: unknown): number | undefined {
  const number = typeof value === "string" && /^\d{1,6}$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isSafeInteger(number) ? number : undefined;
}

export interface Said {
  readonly kind: "text" | "thinking" | "refusal";
  readonly text: string;
}

/** Parts in parts, as one vendor writes a thought. */
const DEPTH_MAX = 4;

/** What is said in a content: a text, a part, or a list of either. Parts that say nothing (pictures, references) are not in it. */
export function saidParts(content: unknown, kind: Said["kind"] = "text", depth = 0): readonly Said[] {
  if (typeof content === "string") return content === "" ? [] : [{ kind, text: content }];
  if (typeof content === "number" || typeof content === "boolean") return [{ kind, text: String(content) }];
  if (depth === DEPTH_MAX) return [];
  if (Array.isArray(content)) return content.flatMap((part) => saidParts(part, kind, depth + 1));
  const part = record(content);
  const its = kindOf(word(part["type"])) ?? kind;
  const inner = part["text"] ?? part["thinking"] ?? part["reasoning"] ?? part["refusal"] ?? part["content"];
  return saidParts(inner, its, depth + 1);
}

/** The text of a content, whatever kinds its parts are of. */
export function textIn(content: unknown): string {
  return saidParts(content)
    .map(({ text }) => text)
    .join("");
}

/** A call's arguments as JSON text: some send the object itself. */
export function argumentsIn(value: unknown): string {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? "" : JSON.stringify(value);
}

/** Whether it is JSON to its end. */
export function isWholeJson(text: string): boolean {
  if (jsonFault(text) !== undefined) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function kindOf(type: string): Said["kind"] | undefined {
  if (/think|reason/.test(type)) return "thinking";
  return type === "refusal" ? "refusal" : undefined;
}
