/** Helps a model whose text is not in a file: names the line that is most like the text's first one. */

import { cutText } from "../contract/cut-text.ts";
import { NO_REDACTION, type Redactor } from "./redactor.ts";

const LINES_MAX = 20_000;
const SHOWN_CHARACTERS = 200;
/** Less alike than this is no help. */
const ALIKE_MIN = 0.5;

/** A sentence with a space before it, or nothing when no line is alike. */
export function nearestLine(content: string, wanted: string, redactor: Redactor = NO_REDACTION): string {
  const first = wanted.split("\n").find((line) => line.trim() !== "");
  if (first === undefined) return "";
  let best = { alike: ALIKE_MIN, line: 0, text: "" };
  for (const [index, text] of content.split("\n", LINES_MAX).entries()) {
    const alike = likeness(text.trim(), first.trim());
    if (alike > best.alike) best = { alike, line: index + 1, text };
  }
  if (best.line === 0) return " No line of it is like it either. Read the file again.";
  const isCut = best.text.length > SHOWN_CHARACTERS;
  const shown = JSON.stringify(redactor.text(cutText(best.text, SHOWN_CHARACTERS), { end: isCut }));
  const difference =
    best.alike < 1
      ? "The nearest line is"
      : "Its first line is there, with other text after it or other white space around it:";
  return ` ${difference} line ${best.line}: ${shown}. Read the file again and take the text from there.`;
}

/** 1 for the same, 0 for nothing in common: the share of what both begin with and both end with. */
function likeness(a: string, b: string): number {
  if (a === b) return 1;
  const shorter = Math.min(a.length, b.length);
  let start = 0;
  while (start < shorter && a[start] === b[start]) start++;
  let end = 0;
  while (end < shorter - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  return (start + end) / Math.max(a.length, b.length);
}
