/** One command of a shell line, as rules are matched with it: the texts that may forbid it, and what an allowing rule must cover. */

import { normalisePath } from "./paths.ts";
import { compilePattern, HOLE, isEverything, matches, mightMatch, occursIn, type TextPattern } from "./patterns.ts";
import { isHarmlessSetting } from "./plain-names.ts";
import { isStatic, joined, type ShellWord } from "./words.ts";
import { runsOthers } from "./wrappers.ts";

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
  /** It runs behind a `cd`: its relative paths are not those of the workspace. */
  readonly moved: boolean;
}

/** A segment with all its texts, made once however many rules look at it. */
export interface SegmentTexts {
  readonly segment: Segment;
  /** For people: with settings and redirections. */
  readonly shown: string;
  /** The words, joined. A blank within a word is a hole, so that only a `*` spans it: `git "a b"` is not `git a b`. */
  readonly allowable: string;
  readonly forbiddable: readonly ShellWord[];
}

/** A pattern for commands. One with ` > ` also says where its command may write. */
export interface CommandPattern {
  readonly whole: TextPattern;
  /** What an allowing rule says of the variables before the command, of the command, and of where it may write. */
  readonly settings: readonly SettingPattern[];
  readonly command: TextPattern;
  /** The first word of it, as it is written: a command that runs another is covered only by its own name. */
  readonly name: string;
  readonly redirected?: { readonly command: TextPattern; readonly target: TextPattern; readonly appendsOnly: boolean };
}

/** `GIT_PAGER=*` before a command in a pattern. */
export interface SettingPattern {
  readonly name: string;
  readonly value: TextPattern;
}

/** Variables that decide which program runs, or what it runs in turn. Setting one is no longer the command that was allowed. */
const DECIDES_PROGRAMS =
  /^(LD_|DYLD_|BASH|GIT_|PERL5|PYTHON|RUBY|JAVA_|JDK_|NPM_|npm_|XDG_|SSH_|LESS|CARGO_|RUSTC|PS[0-4]$|IFS$|ENV$|CC$|CXX$|LD$|AR$|VISUAL$|BROWSER$|SHELLOPTS$|GLOBIGNORE$)|(PATH|HOME|SHELL|PAGER|EDITOR|COMMAND|OPTIONS|OPTS|FLAGS|WRAPPER|ASKPASS|RSH|PRELOAD|STARTUP|RUNNER|LAUNCHER)$/;

export function compileCommandPattern(source: string): CommandPattern {
  const text = source.trim().replace(/[ \t]+/g, " ");
  const whole = compilePattern(text);
  const split = /^(.*?)(?:^| )(>>?) ?(.+)$/.exec(text);
  const [, before = text, operator, target = ""] = split ?? [];
  const words = before.split(" ");
  const start = words.findIndex((word) => !SETTING.test(word));
  const settings = words.slice(0, start < 0 ? words.length : start).map(settingPattern);
  const command = words.slice(settings.length).join(" ");
  const ready = { whole, settings, command: compilePattern(command), name: words[settings.length] ?? "" };
  if (split === null) return ready;
  const redirected = {
    command: compilePattern(before),
    target: compilePattern(target),
    appendsOnly: operator === ">>",
  };
  return { ...ready, redirected };
}

const SETTING = /^([A-Za-z_][A-Za-z0-9_]*)=/;

function settingPattern(word: string): SettingPattern {
  const equals = word.indexOf("=");
  return { name: word.slice(0, equals), value: compilePattern(word.slice(equals + 1)) };
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
  const allowable = words.map(({ holed }) => holed.replace(/\s/g, HOLE)).join(" ");
  return { segment, shown: joined([...settings, ...words, ...redirections]).shown, allowable, forbiddable };
}

/**
 * Whether an allowing rule with this pattern speaks of this command, with all that it sets and writes. Only commands of plain
 * lines are allowed by what is found here.
 */
export function covers(pattern: CommandPattern, { segment, allowable }: SegmentTexts): boolean {
  const { whole, command, redirected, name } = pattern;
  if (isEverything(whole)) return true;
  const [first] = segment.words;
  if (first === undefined || !isStatic(first) || /^$|\s/.test(first.shown)) return false;
  if (runsOthers(segment.words) && name !== first.shown) return false;
  if (segment.moved && isRelativeProgram(first.shown)) return false;
  if (!matchesCommand(command, allowable) || !coversSettings(pattern, segment.settings)) return false;
  if (segment.writes.length === 0) return redirected === undefined;
  if (redirected === undefined) return false;
  return segment.writes.every(
    ({ target, appends }) =>
      (appends || !redirected.appendsOnly) &&
      isStatic(target) &&
      !(segment.moved && !target.shown.startsWith("/")) &&
      matches(redirected.target, placeOf(target.shown)),
  );
}

/** Every variable that is set is harmless or named by the pattern, and what the pattern names is set. */
function coversSettings({ settings: patterns }: CommandPattern, settings: readonly ShellWord[]): boolean {
  const isSaid = (setting: ShellWord, { name, value }: SettingPattern): boolean =>
    setting.holed.startsWith(`${name}=`) && matches(value, setting.holed.slice(name.length + 1).replace(/\s/g, HOLE));
  return (
    settings.every((setting) => isHarmlessSetting(setting) || patterns.some((one) => isSaid(setting, one))) &&
    patterns.every((one) => settings.some((setting) => isSaid(setting, one)))
  );
}

/** A program by a path that begins where the command runs. */
function isRelativeProgram(name: string): boolean {
  return name.includes("/") && !name.startsWith("/");
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

export function afterLastSlash(text: string): string {
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
