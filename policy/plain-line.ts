/**
 * The lines that an allowing rule can cover: programs by fixed names with fixed words, in lists and pipelines.
 *
 * Every shell reads such a line alike, and it runs what is written in it and nothing else. Each character is looked at a
 * fixed number of times. A line that is not plain may still be a good one: it is asked about.
 */
import { LIMITS } from "../contract/limits.ts";
import { normalisePath } from "./paths.ts";
import { refuseOwnCommands } from "./plain-names.ts";
import { type Cursor, NotPlain, type PlainWord, readPlainWord } from "./plain-word.ts";
import type { Write } from "./segments.ts";
import { isStatic, type ShellWord, staticWord } from "./words.ts";

export interface PlainCommand {
  readonly words: readonly ShellWord[];
  readonly settings: readonly ShellWord[];
  readonly writes: readonly Write[];
  readonly reads: readonly ShellWord[];
  /** What a here-document gives it. */
  readonly input: ShellWord | undefined;
  /** It runs behind a `cd` of the same line: a relative path in it is not one of the workspace. */
  readonly moved: boolean;
}

export type PlainLine =
  | { readonly isPlain: true; readonly commands: readonly PlainCommand[] }
  | { readonly isPlain: false; readonly why: string };

interface Building extends PlainCommand {
  readonly words: PlainWord[];
  readonly settings: ShellWord[];
  readonly writes: Write[];
  readonly reads: ShellWord[];
  input: ShellWord | undefined;
  moved: boolean;
  /** A redirection of both outputs was last: a shell that is not bash takes it for the end of the command. */
  isOver: boolean;
}

interface Reading extends Cursor {
  readonly commands: PlainCommand[];
  current: Building;
  /** Behind `&&`, `||` and `|`, where a command must follow. */
  isExpecting: boolean;
  /** The delimiter of a here-document whose text begins on the next line, and the command that gets it. */
  hereDoc: { readonly delimiter: string; readonly command: Building } | undefined;
  moved: boolean;
}

const NAME_SETS = /^[A-Za-z_][A-Za-z0-9_]*\+?=/;
const DEVICES = /^\/dev\/(?:null|stdout|stderr)$/;
const SPECIAL: ReadonlySet<string | undefined> = new Set(["dev", "proc", "sys"]);

export function readPlainLine(line: string): PlainLine {
  try {
    return { isPlain: true, commands: commandsOf(line) };
  } catch (error) {
    if (!(error instanceof NotPlain)) throw error;
    return { isPlain: false, why: error.message };
  }
}

function commandsOf(line: string): readonly PlainCommand[] {
  if (line.length > LIMITS.commandParsedMax) throw new NotPlain("is too long to be read");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (/[\x00-\x08\x0b-\x1f\x7f]/.test(line) || !line.isWellFormed()) {
    throw new NotPlain("has a control character or half of a character in it");
  }
  const reading: Reading = {
    ...{ line, at: 0, commands: [], current: newCommand(), isExpecting: false, hereDoc: undefined, moved: false },
  };
  while (reading.at < line.length) readNext(reading);
  endCommand(reading);
  if (reading.isExpecting) throw new NotPlain("ends where a command is expected");
  if (reading.hereDoc !== undefined) throw new NotPlain("has a here-document without its text");
  if (reading.commands.length === 0) throw new NotPlain("has no command");
  return reading.commands;
}

function newCommand(): Building {
  return { words: [], settings: [], writes: [], reads: [], input: undefined, moved: false, isOver: false };
}

function readNext(reading: Reading): void {
  const { line, at } = reading;
  const [next = "", after = ""] = line.slice(at, at + 2);
  if (next === " " || next === "\t") reading.at += 1;
  else if (next === "\\" && after === "\n") skipContinuation(reading);
  else if (next === "\n") endLine(reading);
  else if (next === "#") skipComment(reading);
  else if (next === ";") endWith(reading, ";");
  else if (next === "&" && after === ">") readRedirection(reading, "&>");
  else if (next === "&" || next === "|") endWith(reading, after === next ? next + next : next);
  else if (/[<>]/.test(next) || (/\d/.test(next) && /[<>]/.test(after))) readRedirection(reading, operatorAt(reading));
  else readArgument(reading);
}

/** Only between words, where it is a blank. */
function skipContinuation(reading: Reading): void {
  const isBetween = /^[ \t\n]?$/.test(reading.line[reading.at - 1] ?? "");
  reading.at += 2;
  if (!isBetween || reading.hereDoc !== undefined || reading.line[reading.at] === "#")
    throw new NotPlain("has a line that goes on in the middle of a word");
}

function skipComment(reading: Reading): void {
  const { line, at } = reading;
  if (reading.hereDoc !== undefined || !/^[ \t\n;]?$/.test(line[at - 1] ?? ""))
    throw new NotPlain("has a # outside of quotes");
  const end = line.indexOf("\n", at);
  reading.at = end < 0 ? line.length : end;
  if (line[reading.at - 1] === "\\") throw new NotPlain("has a comment that ends in a backslash");
}

function endWith(reading: Reading, operator: string): void {
  const { line, at, current } = reading;
  const next = line[at + operator.length] ?? "";
  if (operator === "&") throw new NotPlain("runs something in the background");
  if (isEmpty(current)) throw new NotPlain(`has ${operator} where a command is expected`);
  if (/[;&|]/.test(next)) throw new NotPlain(`has ${operator}${next}, which is more than a list or a pipeline`);
  endCommand(reading);
  reading.isExpecting = operator !== ";";
  reading.at += operator.length;
}

function endLine(reading: Reading): void {
  endCommand(reading);
  reading.at += 1;
  if (reading.hereDoc !== undefined) readHereDocText(reading, reading.hereDoc.delimiter);
}

/** Its text is for the command that asked for it: that one has been put with the others already. */
function readHereDocText(reading: Reading, delimiter: string): void {
  const { line, at } = reading;
  let from = at;
  for (;;) {
    const found = line.indexOf("\n", from);
    const end = found < 0 ? line.length : found;
    if (line.slice(from, end) === delimiter) {
      if (reading.hereDoc !== undefined) reading.hereDoc.command.input = staticWord(line.slice(at, from));
      reading.hereDoc = undefined;
      reading.at = end;
      return;
    }
    if (found < 0) throw new NotPlain("has a here-document that is not closed");
    from = end + 1;
  }
}

function isEmpty({ words, settings, writes, reads, input }: Building): boolean {
  return words.length + settings.length + writes.length + reads.length === 0 && input === undefined;
}

function endCommand(reading: Reading): void {
  const { current } = reading;
  const isPending = reading.hereDoc?.command === current;
  if (isEmpty(current) && !isPending) return;
  if (current.words.length === 0) throw new NotPlain("sets variables, or opens files, without a command");
  refuseOwnCommands(current.words);
  if (reading.commands.length >= LIMITS.commandSegmentsMax) throw new NotPlain("has too many commands");
  current.moved = reading.moved;
  reading.commands.push(current); // Not a copy: the text of a here-document comes later.
  if (current.words[0]?.shown === "cd") reading.moved = true;
  reading.current = newCommand();
  reading.isExpecting = false;
}

function readArgument(reading: Reading): void {
  const { current } = reading;
  if (current.isOver) throw new NotPlain("has words behind &>, which only bash takes for one command");
  const isName = current.words.length === 0;
  const start = reading.at;
  const word = readPlainWord(reading, { isName });
  if (reading.at === start) throw new NotPlain(`has ${reading.line[start]} outside of quotes`);
  if (word.spansLines && reading.hereDoc !== undefined) throw new NotPlain("has a line break before a here-document");
  // `12>file` opens another descriptor, in some shells.
  if (/[<>]/.test(reading.line[reading.at] ?? "") && /^\d+$/.test(word.shown)) {
    throw new NotPlain("redirects a descriptor of several digits");
  }
  const setting = isName ? NAME_SETS.exec(word.shown) : null;
  if (setting === null || setting[0].length > word.bare) current.words.push(word);
  else if (setting[0].endsWith("+=")) throw new NotPlain("appends to a variable");
  else current.settings.push(word);
}

/** The operator with its descriptor. What is longer than the listed ones is not plain. */
function operatorAt({ line, at }: Reading): string {
  const [operator = ""] = /^\d?[<>]+[&|]?/.exec(line.slice(at, at + 8)) ?? [];
  return operator;
}

function readRedirection(reading: Reading, operator: string): void {
  reading.at += operator.length;
  if (/^\d?>&$/.test(operator)) readDuplicate(reading);
  else if (operator === "<<") readHereDocStart(reading);
  else readFile(reading, operator);
}

function readFile(reading: Reading, operator: string): void {
  const { line, current } = reading;
  if (!/^(?:\d?>>?|<|&>)$/.test(operator)) throw new NotPlain(`has the redirection ${operator}`);
  while (/[ \t]/.test(line[reading.at] ?? "")) reading.at += 1;
  const target = readPlainWord(reading, { isName: false });
  if (target.shown === "" || !isStatic(target)) throw new NotPlain("redirects to a file whose name is not fixed");
  if (target.spansLines) throw new NotPlain("redirects to a file with a line break in its name");
  if (operator === "&>") {
    if (!DEVICES.test(target.shown)) throw new NotPlain("redirects with &> to a file: write > file 2>&1");
    current.isOver = true;
  }
  if (DEVICES.test(target.shown)) return;
  if (isSpecial(target.shown)) throw new NotPlain("redirects to or from what is more than a file");
  if (operator === "<") current.reads.push(target);
  else current.writes.push({ target, appends: operator.endsWith(">>") });
}

/** `/dev/tcp` opens a connection, `/proc/self/fd` is another stream. */
function isSpecial(target: string): boolean {
  const { isAbsolute, names } = normalisePath(target);
  return isAbsolute && SPECIAL.has(names[0]);
}

/** `2>&1` and `>&2`: the digit, and nothing behind it. */
function readDuplicate(reading: Reading): void {
  const given = reading.line.slice(reading.at, reading.at + 2);
  if (!/^[0-2](?:[ \t\n;&|]|$)/.test(given)) throw new NotPlain("redirects to a descriptor that is not 0, 1 or 2");
  reading.at += 1;
}

/** `<<'E'`: its text is taken as it is. Without the quotes it would be expanded. */
function readHereDocStart(reading: Reading): void {
  const found = /^[ \t]*(?:'([A-Za-z_]\w*)'|"([A-Za-z_]\w*)")(?=[ \t\n;&|>]|$)/.exec(
    reading.line.slice(reading.at, reading.at + 80),
  );
  const delimiter = found?.[1] ?? found?.[2];
  if (found === null || delimiter === undefined) throw new NotPlain("has a here-document whose word is not in quotes");
  if (reading.hereDoc !== undefined || reading.current.input !== undefined) {
    throw new NotPlain("has several here-documents on a line");
  }
  reading.hereDoc = { delimiter, command: reading.current };
  reading.at += found[0].length;
}
