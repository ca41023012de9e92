/**
 * Text of models, tools and people made safe for a terminal: what could move the cursor, change colours, set a title,
 * reorder what is read or hide becomes a visible sign. Only line breaks and tabs are left.
 */
import { visibleJson, visibleProse, visibleText } from "../contract/visible-text.ts";

const CONTROL_PICTURES = 0x2400;

/** Keeps line breaks and tabs. A carriage return alone is a line break, as it is for whoever reads a log. */
export function safeText(text: string): string {
  return visibleProse(withPictures(text.replace(/\r\n?/g, "\n")));
}

/** What somebody decides about: nothing of it is taken for something else, and every character that does not show is named. */
export function exactText(text: string): string {
  return visibleText(withPictures(text));
}

/** The same on one line, cut to so many characters. */
export function exactLine(text: string, charactersMax: number): string {
  return lineOf(text, charactersMax, exactText);
}

/** Prose on one line, cut to so many characters. */
export function safeLine(text: string, charactersMax: number): string {
  return lineOf(text, charactersMax, safeText);
}

function lineOf(text: string, charactersMax: number, made: (text: string) => string): string {
  // Cut before it is looked at: a text of megabytes must not cost anything for its first 80 characters.
  const head = text.slice(0, charactersMax * 2 + 2);
  const line = made(head).replaceAll("\t", "  ").replace(/\n+/g, " ").trimEnd();
  return line.length > charactersMax || text.length > head.length ? `${line.slice(0, charactersMax - 1)}…` : line;
}

/** One line of JSON that holds no character a terminal acts on or hides. It is the same value. */
export function safeJson(json: string): string {
  return visibleJson(json);
}

/** Control characters by their own signs, which take one column. */
function withPictures(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (character) =>
    character === "\x7f" ? "\u2421" : String.fromCharCode(CONTROL_PICTURES + character.charCodeAt(0)),
  );
}
