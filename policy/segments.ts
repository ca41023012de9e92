/** One command of a shell line, as rules are matched with it: the texts that may forbid it, and what an allowing rule must cover. */

import { normalisePath } from "./paths.ts";
import { compilePattern, isEverything, matches, mightMatch, occursIn, type TextPattern } from "./patterns.ts";
import { isStatic, joined, type ShellWord } from "./words.ts";

/** A redirection that creates or changes a file. */
export interface Write {
  readonly target: ShellWord;
  readonly appends: boolean;
}

export interface Segment {
  readonly words: readonly ShellWord[];
  /** Assignments before it: `A=b` of `A=b make`. */
  readonly settings: readonly ShellWord[];
  readonly writes: readonly Write[];
  /** Files it is given as its standard input. */
  readonly reads: readonly ShellWord[];
  /** Not a command by what bash would make of it, but by what another shell might: it can only be forbidden. */
  readonly suspected: boolean;
}

/** A segment with all its texts, made once however many rules look at it. */
export interface SegmentTexts {
  readonly segment: Segment;
  /** For people: with settings and redirections. */
  readonly shown: string;
  readonly allowable: readonly string[];
  readonly forbiddable: readonly ShellWord[];
}

/** A pattern for commands. One with ` > ` also says where its command may write. */
export interface CommandPattern {
  readonly whole: TextPattern;
  readonly redirected?: { readonly command: TextPattern; readonly target: TextPattern; readonly appendsOnly: boolean };
}

/** Variables that decide which program runs, or what it runs in turn. Setting one is no longer the command that was allowed. */
const DECIDES_PROGRAMS =
  /^(LD_|DYLD_|BASH|GIT_|PERL5|PYTHON|RUBY|JAVA_|JDK_|NPM_|npm_|XDG_|SSH_|LESS|CARGO_|RUSTC|PS[0-4]$|IFS$|ENV$|CC$|CXX$|LD$|AR$|VISUAL$|BROWSER$|SHELLOPTS$|GLOBIGNORE$)|(PATH|HOME|SHELL|PAGER|EDITOR|COMMAND|OPTIONS|OPTS|FLAGS|WRAPPER|ASKPASS|RSH|PRELOAD|STARTUP|RUNNER|LAUNCHER)$/;

export function compileCommandPattern(source: string): CommandPattern {
  const text = source.trim().replace(/[ \t]+/g, " ");
  const whole = compilePattern(text);
  const split = /^(.*?)(?:^| )(>>?) ?(.+)$/.exec(text);
  if (split === null) return { whole };
  const [, command = "", operator, target = ""] = split;
  const redirected = {
    command: compilePattern(command),
    target: compilePattern(target),
    appendsOnly: operator === ">>",
  };
  return { whole, redirected };
}

export function textsOf(segment: Segment): SegmentTexts {
  const { words, settings, writes, reads } = segment;
  const redirections = [
    ...writes.flatMap(({ target, appends }) => [operatorWord(appends ? ">>" : ">"), target]),
    ...reads.flatMap((target) => [operatorWord("<"), target]),
  ];
  const commands = [words, ...byBaseName(words)];
  const forbiddable = [
    ...commands,
    ...(redirections.length > 0 ? commands.map((command) => [...command, ...redirections]) : []),
    ...(settings.length > 0 ? [[...settings, ...words]] : []),
  ].map(joined);
  const withSettings = joined([...settings, ...words]).holed;
  const allowable = settings.some(decidesPrograms) ? [withSettings] : [joined(words).holed, withSettings];
  return { segment, shown: joined([...settings, ...words, ...redirections]).shown, allowable, forbiddable };
}

/** Whether an allowing rule with this pattern speaks of this command, with all that it sets and writes. */
export function covers({ whole, redirected }: CommandPattern, { segment, allowable }: SegmentTexts): boolean {
  if (isEverything(whole)) return true;
  if (/^$|\s/.test(segment.words[0]?.shown ?? ".")) return false; // `"git status"` is not the command `git`.
  if (segment.writes.length === 0) return allowable.some((text) => matchesCommand(whole, text));
  if (redirected === undefined || !allowable.some((text) => matchesCommand(redirected.command, text))) return false;
  return segment.writes.every(
    ({ target, appends }) =>
      (appends || !redirected.appendsOnly) && isStatic(target) && matches(redirected.target, placeOf(target.shown)),
  );
}

/** Whether an asking or denying rule with this pattern speaks of this command, however it is written. */
export function forbids({ whole, redirected }: CommandPattern, { segment, forbiddable }: SegmentTexts): boolean {
  if (forbiddable.some(({ shown }) => matchesCommand(whole, shown))) return true;
  if (redirected === undefined || !forbiddable.some(({ shown }) => matchesCommand(redirected.command, shown))) {
    return false;
  }
  return segment.writes.some(
    ({ target }) => matches(redirected.target, target.shown) || matches(redirected.target, placeOf(target.shown)),
  );
}

/** Whether such a rule could turn out to speak of it, once the shell has put in what is not known yet. */
export function mightForbid({ whole, redirected }: CommandPattern, { segment, forbiddable }: SegmentTexts): boolean {
  if (forbiddable.some(({ holed }) => mightMatch(whole, holed) || mightMatch(whole, `${holed} `))) return true;
  return (
    redirected !== undefined &&
    forbiddable.some(
      (text) => matchesCommand(redirected.command, text.shown) || mightMatch(redirected.command, text.holed),
    ) &&
    segment.writes.some(({ target }) => mightMatch(redirected.target, target.holed))
  );
}

/** Whether such a rule's text is somewhere in a line that could not be read. */
export function occursInLine({ whole }: CommandPattern, line: string): boolean {
  return occursIn(whole, line);
}

/** `git *` is said of `git` alone too. */
function matchesCommand(pattern: TextPattern, text: string): boolean {
  return matches(pattern, pattern.source.endsWith(" *") ? `${text} ` : text);
}

/** `/bin/rm x` is forbidden as `rm x` too; what is allowed by its bare name is the program that `PATH` finds. */
function byBaseName(words: readonly ShellWord[]): readonly (readonly ShellWord[])[] {
  const [name, ...others] = words;
  if (name === undefined || !name.shown.includes("/")) return [];
  return [[{ shown: afterLastSlash(name.shown), holed: afterLastSlash(name.holed) }, ...others]];
}

function afterLastSlash(text: string): string {
  return text.slice(text.lastIndexOf("/") + 1);
}

/** Whether the assignment is to one of them. */
export function decidesPrograms({ holed }: ShellWord): boolean {
  const [name = ""] = holed.split(/\+?=|\0/, 1);
  return DECIDES_PROGRAMS.test(name);
}

/** Where a redirection writes, without the detours of `./` and `../`. */
function placeOf(target: string): string {
  const { isAbsolute, names } = normalisePath(target);
  return `${isAbsolute ? "/" : ""}${names.join("/")}`;
}

function operatorWord(operator: string): ShellWord {
  return { shown: operator, holed: operator };
}
