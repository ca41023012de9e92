/**
 * A shell line, taken apart: every command that bash would run for it, wherever in the line it stands. Never throws.
 *
 * A plain line is read by `plain-line.ts`, and rules can allow it. Any other is parsed only to find what rules forbid.
 */
import { type Command, forEachChild, parse, type Redirection, type SyntaxNode } from "unbash";
import { LIMITS } from "../contract/limits.ts";
import { type PlainCommand, readPlainLine } from "./plain-line.ts";
import { afterLastSlash, decidesPrograms, type Segment, type SegmentTexts, textsOf, type Write } from "./segments.ts";
import { isStatic, readArgument, readAssignment, readHereDoc, readWord, type ShellWord } from "./words.ts";
import { hidesCode, innerCommands, isShell } from "./wrappers.ts";

export interface CommandLine {
  /** At least one, unless something could not be read. */
  readonly segments: readonly SegmentTexts[];
  /** Set when what runs cannot be told from the line for certain. The segments are then not all there may be. */
  readonly unread?: Unread;
}

export interface Unread {
  readonly why: string;
  /** Nothing of it was left out: a text in it is at most a suspicion. */
  readonly isTakenApart: boolean;
  /** The line, and what was found in it, as texts to look for what is forbidden. */
  readonly texts: readonly string[];
}

/** What is still to be read, with where it stands. */
interface Pending {
  readonly node: SyntaxNode;
  readonly place: Place;
}

interface Place {
  /** Texts in texts: `sh -c "eval '…'"`. */
  readonly depth: number;
  readonly suspected: boolean;
  /** Behind a `cd`. */
  readonly moved?: boolean;
}

interface Findings {
  readonly segments: Segment[];
  readonly texts: string[];
  readonly pending: Pending[];
  readonly parser: typeof parse;
  /** Of all words of all segments: what runs in turn is counted once more. */
  characters: number;
  /** Why what runs cannot be told. */
  why?: string;
  /** Why no pattern but `*` can allow it. */
  whyNotPlain?: string;
}

const DEVICES = /^\/dev\/(null|stdout|stderr|tty|fd\/\d+)$/;
const NETWORK = /^\/dev\/(tcp|udp)\//;

export function readCommandLine(line: string): CommandLine {
  return readLine(line, parse);
}

/** A line that is plain, with all texts in it that are for a shell; undefined for any other. Its cost grows with its length. */
export function readWithoutParser(line: string): CommandLine | undefined {
  let isPlain = true;
  const read = readLine(line, () => {
    isPlain = false;
    throw new RangeError("this needs the parser");
  });
  return isPlain ? read : undefined;
}

function readLine(line: string, parser: typeof parse): CommandLine {
  const found: Findings = { segments: [], texts: [line], pending: [], characters: 0, parser };
  if (line.length > LIMITS.commandParsedMax) cannotRead(found, "is too long to be read");
  else read(found, line);
  const { segments, texts } = found;
  const why = found.why ?? found.whyNotPlain;
  if (why !== undefined) {
    const unread = { why, isTakenApart: found.why === undefined, texts: texts.flatMap(asSearched) };
    return { segments: segments.map(textsOf), unread };
  }
  return {
    segments: (segments.some(({ suspected }) => !suspected) ? segments : [...segments, nothing()]).map(textsOf),
  };
}

function read(found: Findings, line: string): void {
  try {
    readText(found, line, { depth: 0, suspected: false });
    let nodes = 0;
    for (let next = found.pending.pop(); next !== undefined; next = found.pending.pop()) {
      nodes += 1;
      if (nodes > LIMITS.commandNodesMax) throw new RangeError("more syntax than is looked at");
      readNode(found, next);
    }
  } catch {
    // The parser and its lazy parts recurse. A line that exhausts the stack, or our bounds, or that trips the parser, is
    // one that cannot be read; it must not end the turn.
    cannotRead(found, "has too much in it to be read");
  }
}

function readText(found: Findings, text: string, place: Place): void {
  const plain = readPlainLine(text);
  if (plain.isPlain) {
    readPlainCommands(found, plain.commands, place);
    return;
  }
  found.whyNotPlain ??= plain.why;
  if (place.depth > LIMITS.commandDepthMax || isTangled(text)) refuse(found, place, "is nested too deeply to be read");
  else found.pending.push({ node: found.parser(text), place });
}

function readPlainCommands(found: Findings, commands: readonly PlainCommand[], place: Place): void {
  for (const { words, settings, writes, reads, input, moved } of commands) {
    const here = { ...place, moved: place.moved === true || moved };
    addSegment(found, { words, settings, writes, reads }, here);
    addInner(found, { words, place: here, input });
  }
  if (runsWhatItWrites(commands)) found.whyNotPlain ??= "runs a file that it writes";
}

/** `printf … > q; sh q`: what runs is in the file, which nobody has seen. */
function runsWhatItWrites(commands: readonly PlainCommand[]): boolean {
  const written = new Set(commands.flatMap(({ writes }) => writes.map(({ target }) => afterLastSlash(target.shown))));
  return commands.some(({ words }) => {
    const [name] = words;
    const isRunner = name !== undefined && (name.shown.includes("/") || isShell(name));
    return isRunner && words.some(({ shown }) => written.has(afterLastSlash(shown)));
  });
}

/** More parentheses, substitutions or here-documents than the parser takes in good time. */
function isTangled(text: string): boolean {
  let [depth, deepest] = [0, 0];
  for (const character of text) {
    if (character === "(" || character === "{") depth += 1;
    else if (character === ")" || character === "}") depth -= 1;
    deepest = Math.max(deepest, Math.abs(depth));
  }
  const { commandNestingMax, commandHereDocsMax } = LIMITS;
  return deepest > commandNestingMax || text.split("<<").length > commandHereDocsMax;
}

function readNode(found: Findings, { node, place }: Pending): void {
  const why = whyUnread(node);
  if (why !== undefined) refuse(found, place, why);
  if (node.type === "Command") readCommand(found, node, place);
  if (node.type === "Redirected") {
    addSegment(found, { ...redirectionsOf(node.redirects), words: [], settings: [] }, place);
  }
  if (node.type === "ArithmeticCommand") {
    // Where there is no bash, sh takes `((` for two subshells.
    readText(found, node.body, { depth: place.depth + 1, suspected: true });
  }
  const children: Pending[] = [];
  forEachChild(node, (child) => children.push({ node: child, place }));
  found.pending.push(...children.reverse());
}

/** Why it cannot be told what this runs; undefined when it can. */
function whyUnread(node: SyntaxNode): string | undefined {
  switch (node.type) {
    case "Script":
      return node.errors === undefined ? undefined : "is not a shell line that can be read";
    case "CommandExpansion":
    case "ProcessSubstitution":
    case "ArithmeticCommandExpansion":
      return node.script === undefined ? "has a substitution that cannot be read" : undefined;
    case "AnsiCQuoted":
      return node.text.includes("\\'") ? "has a quotation that sh ends elsewhere than bash" : undefined;
    case "ExtendedGlob":
      return "has an extended pattern, which bash reads in two ways";
    case "Transform":
      return node.operand.value.includes("P") ? "expands a value as a prompt, which runs what is in it" : undefined;
    case "Unknown":
      return "has an expansion that is not known";
    case "Word":
      return node.parts === undefined && hasLeftover(node.text) ? "has a word that cannot be taken apart" : undefined;
    case "Literal":
      return hasLeftover(node.text) ? "has a text that cannot be taken apart" : undefined;
    case "HereDoc": {
      const isPlain = node.delimiter?.quoted === true || node.body.parts !== undefined;
      return !isPlain && hasLeftover(node.body.text) ? "has a here-document that cannot be taken apart" : undefined;
    }
    case "Assignment":
      return node.value.type === "Word" && hidesCode(readWord(node.value))
        ? "hides a command in a variable"
        : undefined;
    default:
      return undefined; // These run nothing of themselves; what is in them is read.
  }
}

/**
 * Whether the parser left an expansion in what it took for plain text: `a=(1 $(rm x))b` is such a one. It is made sure of
 * here because a substitution that nobody looks at is a command that nobody judges.
 */
function hasLeftover(text: string): boolean {
  return /\$[({[]|`|[<>]\(/.test(text.replace(/\\[\s\S]/g, ""));
}

function readCommand(found: Findings, command: Command, place: Place): void {
  const settings = command.prefix.filter((one) => one.type === "Assignment").map(readAssignment);
  const words = [...(command.name === undefined ? [] : [readWord(command.name)]), ...command.args.map(readArgument)];
  addSegment(found, { words, settings, ...redirectionsOf(command.redirects) }, place);
  const hereDoc = command.redirects.findLast(({ type }) => type === "HereDoc" || type === "HereString");
  addInner(found, { words, place, input: hereDoc === undefined ? undefined : inputOf(hereDoc) });
}

function addSegment(found: Findings, command: Omit<Segment, "suspected" | "moved">, place: Place): void {
  const { words, settings, writes, reads } = command;
  found.characters += [...words, ...settings].reduce((sum, { shown }) => sum + shown.length + 1, 0);
  if (found.characters > LIMITS.commandCharactersReadMax) throw new RangeError("more words than are looked at");
  const [name] = words;
  if (name !== undefined && !isStatic(name)) refuse(found, place, `runs ${name.shown}, which is known only then`);
  if (words.length + settings.length + writes.length + reads.length === 0) return;
  // Reading a file into a loop and setting a variable need nobody's leave, and can be forbidden.
  const isHarmless = words.length + writes.length === 0 && !settings.some(decidesPrograms);
  found.segments.push({ ...command, suspected: place.suspected || isHarmless, moved: place.moved === true });
  if (found.segments.length > LIMITS.commandSegmentsMax) throw new RangeError("more commands than are looked at");
}

interface Given {
  readonly words: readonly ShellWord[];
  readonly place: Place;
  readonly input: ShellWord | undefined;
}

/** What these words make another command of: `sudo rm x`, `sh -c "rm x"`, `find -exec rm {} +`. */
function addInner(found: Findings, { words, place, input }: Given): void {
  if (place.depth > LIMITS.commandDepthMax) throw new RangeError("more texts in texts than are looked at");
  const inside = { ...place, depth: place.depth + 1 };
  for (const inner of innerCommands(words, input)) {
    if (inner.type === "unread") refuse(found, place, inner.why);
    else if (inner.type === "text" && isStatic(inner.text)) {
      found.texts.push(inner.text.shown);
      readText(found, inner.text.shown, inside);
    } else if (inner.type === "text") {
      found.texts.push(inner.text.shown);
      refuse(found, place, "gives a shell a text that is known only then");
    } else {
      const isSetting = ({ shown }: ShellWord): boolean => /^[A-Za-z_]\w*\+?=/.test(shown);
      const start = inner.words.findIndex((word) => !isSetting(word));
      // For env it is a variable, for others a program.
      if (inner.words[start]?.shown.includes("=") === true) refuse(found, place, "has a = in the name of a command");
      const command = start < 0 ? [] : inner.words.slice(start);
      const settings = inner.words.slice(0, start < 0 ? inner.words.length : start);
      addSegment(found, { words: command, settings, writes: [], reads: [] }, place);
      addInner(found, { words: command, place: inside, input });
    }
  }
}

function redirectionsOf(redirections: readonly Redirection[]): Pick<Segment, "writes" | "reads"> {
  const writes: Write[] = [];
  const reads: ShellWord[] = [];
  for (const redirection of redirections) {
    if (redirection.type !== "Redirect" || redirection.target === undefined) continue;
    const target = readWord(redirection.target);
    const { operator } = redirection;
    const isProcess = redirection.target.parts?.every(({ type }) => type === "ProcessSubstitution") === true;
    if (isProcess || DEVICES.test(target.holed)) continue;
    if (operator === "<" && !NETWORK.test(target.shown)) reads.push(target);
    else if (!/&$/.test(operator) || !/^(\d+-?|-)$/.test(target.holed)) {
      if (operator !== "<&") writes.push({ target, appends: operator.endsWith(">>") });
    }
  }
  return { writes, reads };
}

function inputOf(redirection: Redirection): ShellWord | undefined {
  if (redirection.type === "HereDoc") return readHereDoc(redirection);
  return redirection.type === "HereString" && redirection.target !== undefined
    ? readWord(redirection.target)
    : undefined;
}

/** What is only suspected of being a command need not be readable. */
function refuse(found: Findings, { suspected }: Place, why: string): void {
  if (!suspected) cannotRead(found, why);
}

function cannotRead(found: Findings, why: string): void {
  found.why ??= why;
}

/** A line of comments, blanks and plain assignments: rules judge it as a command without words. */
function nothing(): Segment {
  return { words: [], settings: [], writes: [], reads: [], suspected: false, moved: false };
}

/** As it is, and without quotes and backslashes; with single blanks. */
function asSearched(text: string): readonly string[] {
  return [text, text.replace(/\\\n/g, "").replace(/["'\\]/g, "")].map((one) => one.replace(/\s+/g, " "));
}
