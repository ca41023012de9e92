/** How many columns a text takes on a terminal: as near as one can know without asking the terminal. */
import { stripVTControlCharacters } from "node:util";

const SEGMENTER = new Intl.Segmenter("en", { granularity: "grapheme" });
/** East Asian wide and fullwidth characters, and what is drawn as a picture. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;

/** What a person takes for characters: a cursor never stands inside one. */
export function graphemes(text: string): readonly string[] {
  return Array.from(SEGMENTER.segment(text), ({ segment }) => segment);
}

/** Columns of one grapheme. */
export function graphemeWidth(grapheme: string): number {
  return WIDE.test(grapheme) ? 2 : 1;
}

export function textWidth(text: string): number {
  return graphemes(text).reduce((width, grapheme) => width + graphemeWidth(grapheme), 0);
}

/** The column that text ends in, when it is written at a column of a terminal that wraps. */
export function columnAfter(column: number, text: string, columns: number): number {
  let at = text.includes("\n") ? 0 : column;
  const lastLine = stripVTControlCharacters(text.slice(text.lastIndexOf("\n") + 1));
  for (const grapheme of graphemes(lastLine)) {
    const width = graphemeWidth(grapheme);
    at = at + width > columns ? width : at + width;
  }
  return at;
}

/** As much of the text as fits; what does not is told by an ellipsis. */
export function fitted(text: string, columns: number): string {
  if (textWidth(text) <= columns) return text;
  let shown = "";
  let width = 1;
  for (const grapheme of graphemes(text)) {
    width += graphemeWidth(grapheme);
    if (width > columns) break;
    shown += grapheme;
  }
  return `${shown}…`;
}
