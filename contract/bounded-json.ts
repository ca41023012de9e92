/** JSON looked at before it is parsed: what nests deep, or holds very many values, costs the parser seconds. */
import { LIMITS } from "./limits.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPENING: ReadonlySet<number> = new Set([0x5b, 0x7b]);
const CLOSING: ReadonlySet<number> = new Set([0x5d, 0x7d]);

/** Why the JSON is refused; undefined when it may be parsed. Each character is looked at once, and nothing is kept of them. */
export function jsonFault(json: string | Uint8Array): string | undefined {
  const { jsonDepthMax, jsonValuesMax } = LIMITS;
  const codeAt = typeof json === "string" ? (at: number) => json.charCodeAt(at) : (at: number) => json[at] ?? 0;
  let [depth, values] = [0, 0];
  for (let at = 0; at < json.length; at += 1) {
    const code = codeAt(at);
    if (code === QUOTE) at = endOfString(json, at);
    else if (code === COMMA) values += 1;
    else if (OPENING.has(code)) {
      [depth, values] = [depth + 1, values + 1];
      // One more than the schemas take: they name the place.
      if (depth > jsonDepthMax + 2)
        return `expected at most ${jsonDepthMax} nested objects and lists; this nests deeper`;
    } else if (CLOSING.has(code)) depth -= 1;
    if (values > 2 * jsonValuesMax) return `expected at most ${jsonValuesMax} fields and list items; this has more`;
  }
  return undefined;
}

/** Where the string that begins there ends: strings are most of what is long, and searched by the engine. */
function endOfString(json: string | Uint8Array, start: number): number {
  let end = find(json, start + 1);
  while (end >= 0) {
    let backslashes = 0;
    while (codeOf(json, end - 1 - backslashes) === BACKSLASH && end - 1 - backslashes > start) backslashes += 1;
    if (backslashes % 2 === 0) return end;
    end = find(json, end + 1);
  }
  return json.length;
}

function find(json: string | Uint8Array, from: number): number {
  return typeof json === "string" ? json.indexOf('"', from) : json.indexOf(QUOTE, from);
}

function codeOf(json: string | Uint8Array, at: number): number {
  return typeof json === "string" ? json.charCodeAt(at) : (json[at] ?? 0);
}
