/**
 * One word of a plain line: characters, quotes, and variables in double quotes that every shell reads alike.
 *
 * This is a list of what is known to be safe. Whatever is not on it is refused, so that a form of the shell nobody has
 * thought of asks a person instead of running.
 */
import { HOLE } from "./patterns.ts";
import type { ShellWord } from "./words.ts";

/** Thrown within the reader, and caught by it: why the line is not plain. */
export class NotPlain extends Error {
  override readonly name = "NotPlain";
}

export interface Cursor {
  readonly line: string;
  at: number;
}

export interface PlainWord extends ShellWord {
  /** How many of its first characters stand without quotes: only those can make it a keyword or an assignment. */
  readonly bare: number;
  /** It has a line break in quotes. */
  readonly spansLines: boolean;
}

/** Characters that mean themselves outside of quotes, wherever they stand in a word. */
const LITERAL = /[A-Za-z0-9_./:,@%+=^-]/;
const ENDS_WORD = /[ \t\n;&|<>()]/;
/** `$_`, `$BASH_COMMAND` and their like hold text of the line itself. */
const VARIABLE = /\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})/y;
const HOLDS_LINE = /^(?:_|BASH\w*|DIRSTACK|FUNCNAME|COMP_\w*)$/;

interface Building {
  shown: string;
  holed: string;
  bare: number | undefined;
  spansLines: boolean;
  hasBrace: boolean;
  readonly isName: boolean;
}

/** Reads the word that begins at the cursor. `isName` says that it is a command's name or stands before it. */
export function readPlainWord(cursor: Cursor, { isName }: { readonly isName: boolean }): PlainWord {
  const word: Building = { shown: "", holed: "", bare: undefined, spansLines: false, hasBrace: false, isName };
  const start = cursor.at;
  for (let next = cursor.line[cursor.at]; next !== undefined && !ENDS_WORD.test(next); next = cursor.line[cursor.at]) {
    if (next === "'") readSingleQuotes(cursor, word);
    else if (next === '"') readDoubleQuotes(cursor, word);
    else if (next === "\\") readEscape(cursor, word);
    else if (next === "*" || next === "?") readGlob(cursor, word);
    else readBare(cursor, word, start);
  }
  // `{fd}>file` opens a descriptor; `{a,b}` and `{1..3}` are several words.
  const { hasBrace, shown, holed } = word;
  if (hasBrace && (/,|\.\./.test(shown) || holed.includes(HOLE) || /[<>]/.test(cursor.line[cursor.at] ?? ""))) {
    throw new NotPlain("has braces that the shell expands");
  }
  return { shown, holed, bare: word.bare ?? shown.length, spansLines: word.spansLines };
}

function readBare(cursor: Cursor, word: Building, start: number): void {
  const { line, at } = cursor;
  const character = line[at] ?? "";
  const isFirst = at === start;
  if (character === "~" && (isFirst || /[:=]/.test(line[at - 1] ?? ""))) {
    throw new NotPlain("has a ~ that the shell expands");
  }
  const isAlone = isFirst && ENDS_WORD.test(line[at + 1] ?? "\n");
  const isFine =
    LITERAL.test(character) ||
    (character === "~" && !isFirst) ||
    (character === "#" && !isFirst) ||
    (character === "[" && word.isName && isAlone) ||
    (character === "]" && !word.isName && isAlone) ||
    (/[!{}]/.test(character) && !word.isName);
  if (!isFine) throw new NotPlain(`has ${nameOf(line, at)} outside of quotes`);
  if (character === "{" || character === "}") word.hasBrace = true;
  cursor.at += 1;
  append(word, character);
}

/** Files' names take the place of a pattern. What it begins with keeps them from being options. */
function readGlob(cursor: Cursor, word: Building): void {
  if (word.isName || !/^[^-]/.test(word.shown)) {
    throw new NotPlain("has a file pattern that may become an option or a command: begin it with ./ or a folder");
  }
  word.bare ??= word.shown.length;
  word.shown += cursor.line[cursor.at];
  word.holed += HOLE;
  cursor.at += 1;
}

function readSingleQuotes(cursor: Cursor, word: Building): void {
  const end = cursor.line.indexOf("'", cursor.at + 1);
  if (end < 0) throw new NotPlain("has a quote that is not closed");
  quoted(word, cursor.line.slice(cursor.at + 1, end));
  cursor.at = end + 1;
}

function readDoubleQuotes(cursor: Cursor, word: Building): void {
  const { line } = cursor;
  quoted(word, "");
  cursor.at += 1;
  for (let next = line[cursor.at]; next !== '"'; next = line[cursor.at]) {
    if (next === undefined) throw new NotPlain("has a quote that is not closed");
    if (next === "`") throw new NotPlain("has a command substitution");
    if (next === "$" && line[cursor.at + 1] !== '"') readVariable(cursor, word);
    else {
      if (next === "\\") escapeInQuotes(cursor);
      quoted(word, line[cursor.at] ?? "");
      cursor.at += 1;
    }
  }
  cursor.at += 1;
}

/** Leaves the cursor on the character that is meant: the one behind the backslash, or the backslash itself. */
function escapeInQuotes(cursor: Cursor): void {
  const { line, at } = cursor;
  const next = line[at + 1] ?? "";
  // In some locales a backslash is the second half of a character, and the quote behind it ends the text.
  if (/[^\x20-\x7e]/.test(next) || (line[at - 1] ?? "") > "\x7f") {
    throw new NotPlain("has a backslash that shells read in several ways");
  }
  if (/["\\$`]/.test(next)) cursor.at += 1;
}

function readVariable(cursor: Cursor, word: Building): void {
  VARIABLE.lastIndex = cursor.at;
  const found = VARIABLE.exec(cursor.line);
  const name = found?.[1] ?? found?.[2];
  if (found === null || name === undefined || HOLDS_LINE.test(name) || word.isName) {
    throw new NotPlain("has an expansion that is more than a variable's value in an argument");
  }
  word.shown += found[0];
  word.holed += HOLE;
  cursor.at += found[0].length;
}

function readEscape(cursor: Cursor, word: Building): void {
  const next = cursor.line[cursor.at + 1] ?? "";
  if (!/[\x20-\x7e]/.test(next)) throw new NotPlain("has a backslash that shells read in several ways");
  quoted(word, next);
  cursor.at += 2;
}

function quoted(word: Building, text: string): void {
  word.bare ??= word.shown.length;
  word.spansLines ||= text.includes("\n");
  append(word, text);
}

function append(word: Building, text: string): void {
  word.shown += text;
  word.holed += text;
}

function nameOf(line: string, at: number): string {
  const character = String.fromCodePoint(line.codePointAt(at) ?? 0);
  return /^[\x21-\x7e]$/.test(character) ? character : "a character beyond ASCII";
}
