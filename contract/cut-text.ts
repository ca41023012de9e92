/** Text that is cut, and JSON that every parser takes: no half of a character in either. */

/** At most so many UTF-16 units from its beginning, and never the first half of a character at its end. */
export function cutText(text: string, units: number): string {
  if (text.length <= units) return text;
  const isInside = isHigh(text.charCodeAt(units - 1)) && isLow(text.charCodeAt(units));
  return text.slice(0, isInside ? units - 1 : units);
}

/** Whether its last unit is the first half of a character whose other half may be on its way. */
export function endsInside(text: string): boolean {
  return isHigh(text.charCodeAt(text.length - 1));
}

/** JSON with U+FFFD for each half of a character: strict parsers refuse a whole document for one of them. */
export function wellFormedJson(value: unknown): string {
  const json = JSON.stringify(value);
  if (!HALF.test(json)) return json;
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner === "string") return inner.toWellFormed();
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).map(([key, its]) => [key.toWellFormed(), its]));
  });
}

/** `JSON.stringify` writes a half, and nothing else, as an escape of these. A text may hold one that is written out, behind a backslash of its own. */
const HALF = /\\ud[89a-f][0-9a-f]{2}/;

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;
