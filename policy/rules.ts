/** The rules of one policy made ready for matching, and whether one of them speaks of a call or of one of its commands. */
import type { ArgumentPatterns, Policy, PolicyAction, PolicyRule } from "../contract/policy.ts";
import { kindOf, type Reading } from "./arguments.ts";
import type { GlobFault } from "./braces.ts";
import type { Unread } from "./command.ts";
import { compileGlob, type Glob, matchesGlob } from "./paths.ts";
import { compilePattern, isEverything, matches, type TextPattern } from "./patterns.ts";
import {
  type CommandPattern,
  compileCommandPattern,
  covers,
  forbids,
  mightForbid,
  occursInLine,
  type SegmentTexts,
} from "./segments.ts";

/** A pattern for one argument. What it means follows from the argument's kind, which only the call knows. */
export interface ArgumentPattern {
  readonly name: string;
  readonly text: TextPattern;
  readonly command: CommandPattern;
  readonly glob: Glob | GlobFault;
}

export interface Rule {
  /** From 1, as people count. */
  readonly number: number;
  readonly rule: PolicyRule;
  readonly tool: TextPattern;
  readonly patterns: readonly ArgumentPattern[];
}

/** One thing to judge: a command of a line, a line that could not be read, or the call as a whole. */
export type Unit =
  | { readonly type: "command"; readonly argument: string; readonly segment: SegmentTexts }
  | { readonly type: "unread"; readonly argument: string; readonly unread: Unread }
  | { readonly type: "call" };

/**
 * What a rule has to say: that it decides; that it could decide once the shell has run; that its text is in what is run, for
 * whatever the program makes of it; or nothing.
 */
export type Match = "yes" | "maybe" | "mentioned" | "no";

/** Policies are pinned and looked at for every call; one that is gone takes its rules along. */
const compiled = new WeakMap<Policy, readonly Rule[]>();

export function rulesOf(policy: Policy): readonly Rule[] {
  const known = compiled.get(policy);
  if (known !== undefined) return known;
  const rules = policy.rules.map((rule, index) => ({
    number: index + 1,
    rule,
    tool: compilePattern(rule.tool),
    patterns: compileArguments(rule.arguments ?? {}),
  }));
  compiled.set(policy, rules);
  return rules;
}

export function compileArguments(patterns: ArgumentPatterns): readonly ArgumentPattern[] {
  // Each is compiled when an argument of its kind is looked at: most policies have one kind of pattern.
  return Object.entries(patterns).map(([name, source]) => {
    const made: { text?: TextPattern; command?: CommandPattern; glob?: Glob | GlobFault } = {};
    return {
      name,
      get text() {
        made.text ??= compilePattern(source);
        return made.text;
      },
      get command() {
        made.command ??= compileCommandPattern(source);
        return made.command;
      },
      get glob() {
        made.glob ??= compileGlob(source);
        return made.glob;
      },
    };
  });
}

/** The call's commands and what could not be read of them; the call itself when it has none. */
export function unitsOf({ commands }: Reading): readonly Unit[] {
  const units = [...commands].flatMap(([argument, { segments, unread }]): Unit[] => [
    ...segments.map((segment): Unit => ({ type: "command", argument, segment })),
    ...(unread === undefined ? [] : [{ type: "unread" as const, argument, unread }]),
  ]);
  return units.length > 0 ? units : [{ type: "call" }];
}

/** What is a command at most for another shell than bash. Rules can forbid it, and nothing else is asked of it. */
export function isSuspected(unit: Unit): boolean {
  return unit.type === "command" && unit.segment.segment.suspected;
}

/** Whether the rule says of which commands it speaks: one for all of them is not meant for what is only suspected. */
export function isAboutCommands({ patterns }: Rule, unit: Unit): boolean {
  return unit.type !== "call" && patterns.some(({ name, text }) => name === unit.argument && !isEverything(text));
}

/** Whether the patterns, in a rule with this action, speak of this unit of the call. All of them must. */
export function matchPatterns(
  patterns: readonly ArgumentPattern[],
  action: PolicyAction,
  { reading, unit }: { readonly reading: Reading; readonly unit: Unit },
): Match {
  let result: Match = "yes";
  const isElsewhere = runsElsewhere(patterns, reading);
  for (const pattern of patterns) {
    const match = matchOne(pattern, action, { reading, unit, isElsewhere });
    if (match === "no") return "no";
    if (match === "mentioned" || result === "yes") result = match;
  }
  return result;
}

function matchOne(
  pattern: ArgumentPattern,
  action: PolicyAction,
  { reading, unit, isElsewhere }: { readonly reading: Reading; readonly unit: Unit; readonly isElsewhere: boolean },
): Match {
  const { name } = pattern;
  switch (kindOf(reading.call, name)) {
    case "path":
      return asMatch(action === "allow" ? allowsPaths(pattern, reading) : forbidsPaths(pattern, reading));
    case "text": {
      const text = reading.text(name);
      return asMatch(text !== undefined && matches(pattern.text, text));
    }
    case "command":
      if (unit.type !== "call" && unit.argument === name)
        return matchUnit(pattern, action, inFolder(unit, isElsewhere));
      return matchOther(pattern, action, reading);
    default:
      throw new Error(`unknown kind of argument: ${name}`);
  }
}

/** In another folder than the workspace, of which the patterns say nothing: `./build` is not the program that they mean. */
function runsElsewhere(patterns: readonly ArgumentPattern[], reading: Reading): boolean {
  const { argumentKinds, arguments: given } = reading.call;
  const folders = Object.keys(argumentKinds).filter(
    (name) => argumentKinds[name] === "path" && Object.hasOwn(given, name),
  );
  return folders.some((folder) => {
    const isSaid = patterns.some(({ name }) => name === folder);
    return !isSaid && reading.places(folder).some((names) => names === undefined || names.length > 0);
  });
}

function inFolder(unit: Exclude<Unit, { type: "call" }>, isElsewhere: boolean): Exclude<Unit, { type: "call" }> {
  if (!isElsewhere || unit.type !== "command") return unit;
  return { ...unit, segment: { ...unit.segment, segment: { ...unit.segment.segment, moved: true } } };
}

function matchUnit({ command }: ArgumentPattern, action: PolicyAction, unit: Exclude<Unit, { type: "call" }>): Match {
  if (unit.type === "unread") {
    if (action === "allow") return asMatch(isEverything(command.whole));
    const isThere = unit.unread.texts.some((text) => occursInLine(command, text));
    // What is forbidden in a line that was taken apart has been found as a command. Its text alone may be a file's name.
    return isThere && unit.unread.isTakenApart && !isEverything(command.whole) ? "maybe" : asMatch(isThere);
  }
  if (action === "allow") return asMatch(covers(command, unit.segment));
  if (forbids(command, unit.segment)) return "yes";
  if (isSuspected(unit)) return "no";
  if (mightForbid(command, unit.segment)) return "maybe";
  return occursInLine(command, unit.segment.shown) ? "mentioned" : "no";
}

/** A pattern on another command of the call than the one that is judged: to allow it must cover all of that, to forbid any. */
function matchOther(pattern: ArgumentPattern, action: PolicyAction, reading: Reading): Match {
  const line = reading.commands.get(pattern.name);
  if (line === undefined) return "no";
  const others = unitsOf({ ...reading, commands: new Map([[pattern.name, line]]) });
  const found = others.map((unit) => (unit.type === "call" ? "no" : matchUnit(pattern, action, unit)));
  if (action === "allow") return asMatch(found.every((match) => match === "yes"));
  return found.find((match) => match !== "no") ?? "no";
}

function allowsPaths({ name, glob }: ArgumentPattern, reading: Reading): boolean {
  if ("fault" in glob) return false;
  return reading.places(name).every((names) => names !== undefined && matchesGlob(glob, names));
}

/** A glob that cannot be read forbids everything: its author wanted to keep something away. */
function forbidsPaths({ name, glob }: ArgumentPattern, reading: Reading): boolean {
  if ("fault" in glob) return true;
  const isAll = glob.source === "*" || glob.source === "**";
  return reading.places(name).some((names) => (names === undefined ? isAll : matchesGlob(glob, names)));
}

function asMatch(isMatch: boolean): Match {
  return isMatch ? "yes" : "no";
}
