/** Globs below a workspace, and the paths that they are matched with. Nothing here looks at a disk. */
import { LIMITS } from "../contract/limits.ts";
import { expandBraces, type GlobFault } from "./braces.ts";

export interface NormalPath {
  readonly isAbsolute: boolean;
  /** Without `.`, and with `..` only where it leads above the start. */
  readonly names: readonly string[];
}

/** One name of a glob, or `**` for any number of names. */
type NamePattern = "**" | readonly Token[];
type Token =
  | { readonly type: "text"; readonly character: string }
  | { readonly type: "star" }
  | { readonly type: "one" }
  | { readonly type: "set"; readonly negated: boolean; readonly ranges: readonly (readonly [string, string])[] };

export interface Glob {
  readonly source: string;
  readonly alternatives: readonly (readonly NamePattern[])[];
}

export function normalisePath(text: string): NormalPath {
  const isAbsolute = text.startsWith("/");
  const names: string[] = [];
  for (const name of text.split("/")) {
    if (name === "" || name === ".") continue;
    if (name !== ".." || (names.length === 0 && !isAbsolute) || names.at(-1) === "..") names.push(name);
    else names.pop();
  }
  return { isAbsolute, names };
}

/** The path's names below the workspace; undefined when it leads out of it, or nobody can say. */
export function namesInWorkspace(text: string, workspace: string | undefined): readonly string[] | undefined {
  if (text.length > LIMITS.pathCharactersMax || text.startsWith("~") || text.includes("\0")) return undefined;
  const { isAbsolute, names } = normalisePath(text);
  if (!isAbsolute) return names[0] === ".." ? undefined : names;
  if (workspace === undefined) return undefined;
  const base = normalisePath(workspace).names;
  return base.every((name, index) => names[index] === name) ? names.slice(base.length) : undefined;
}

export function compileGlob(source: string): Glob | GlobFault {
  if (source === "*") return { source, alternatives: [["**"]] };
  if (/^[/~]/.test(source))
    return { fault: "leads out of the workspace: a glob is relative to it, without / or ~ at its start" };
  if (source.trim() === "") return { fault: "is empty: ** stands for everything" };
  if (source.includes("\0")) return { fault: "holds a NUL, which no path can" };
  if (source.startsWith("!"))
    return { fault: "begins with !: say it with a rule's action, or write \\! for the character" };
  if (/(?<!\\)[?*+@!]\(/.test(source)) return { fault: "has an extended pattern such as @(a|b): write {a,b}" };
  const texts = expandBraces(source);
  if ("fault" in texts) return texts;
  const alternatives: (readonly NamePattern[])[] = [];
  for (const text of texts) {
    const names = compileNames(text);
    if ("fault" in names) return names;
    alternatives.push(names.names);
  }
  return { source, alternatives };
}

export function matchesGlob({ alternatives }: Glob, names: readonly string[]): boolean {
  return alternatives.some((patterns) => matchesNames(patterns, names));
}

function compileNames(text: string): { readonly names: readonly NamePattern[] } | GlobFault {
  const names: NamePattern[] = [];
  for (const name of text.split("/")) {
    if (name === "..") return { fault: "leads out of the workspace: .. is not allowed in a glob" };
    if (name === "" || name === ".") continue;
    const tokens = name === "**" ? "**" : compileName(name);
    if (tokens === undefined)
      return { fault: "has a [ without its ], or a set of nothing: write \\[ for the character" };
    names.push(tokens);
  }
  return { names };
}

function compileName(name: string): readonly Token[] | undefined {
  const characters = [...name];
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at] ?? "";
    if (character === "[") {
      const set = readSet(characters, at + 1);
      if (set === undefined) return undefined;
      tokens.push(set.token);
      at = set.end;
    } else if (character === "*") tokens.push({ type: "star" });
    else if (character === "?") tokens.push({ type: "one" });
    else {
      if (character === "\\" && at + 1 < characters.length) at += 1;
      tokens.push({ type: "text", character: characters[at] ?? "" });
    }
  }
  return tokens;
}

/** The set that begins behind its `[`, and where its `]` is. */
function readSet(name: readonly string[], start: number): { readonly token: Token; readonly end: number } | undefined {
  const negated = name[start] === "!" || name[start] === "^";
  const ranges: (readonly [string, string])[] = [];
  let at = negated ? start + 1 : start;
  for (; at < name.length && name[at] !== "]"; at += 1) {
    if (name[at] === "\\") at += 1;
    const [first = "", dash, last] = name.slice(at, at + 3);
    const isRange = dash === "-" && last !== undefined && last !== "]";
    ranges.push([first, isRange ? last : first]);
    if (isRange) at += 2;
  }
  return at >= name.length || ranges.length === 0 ? undefined : { token: { type: "set", negated, ranges }, end: at };
}

/** Two pointers, and one place to come back to: the last `**` alone can still grow. */
function matchesNames(patterns: readonly NamePattern[], names: readonly string[]): boolean {
  return matchesSequence(patterns, names, {
    isStar: (pattern) => pattern === "**",
    isMatch: (pattern, name) => pattern !== "**" && matchesName(pattern, name),
  });
}

function matchesName(tokens: readonly Token[], name: string): boolean {
  return matchesSequence(tokens, [...name], { isStar: ({ type }) => type === "star", isMatch: matchesCharacter });
}

interface Comparison<Pattern, Item> {
  isStar(pattern: Pattern): boolean;
  isMatch(pattern: Pattern, item: Item): boolean;
}

function matchesSequence<Pattern, Item>(
  patterns: readonly Pattern[],
  items: readonly Item[],
  { isStar, isMatch }: Comparison<Pattern, Item>,
): boolean {
  let [pattern, item] = [0, 0];
  let afterStar: number | undefined;
  let resumeAt = 0;
  while (item < items.length) {
    const [wanted, given] = [patterns[pattern], items[item]];
    if (wanted !== undefined && isStar(wanted)) {
      pattern += 1;
      [afterStar, resumeAt] = [pattern, item];
    } else if (wanted !== undefined && given !== undefined && isMatch(wanted, given)) {
      [pattern, item] = [pattern + 1, item + 1];
    } else {
      if (afterStar === undefined) return false;
      resumeAt += 1;
      [pattern, item] = [afterStar, resumeAt];
    }
  }
  return patterns.slice(pattern).every(isStar);
}

function matchesCharacter(token: Token, character: string): boolean {
  switch (token.type) {
    case "text":
      return token.character === character;
    case "one":
      return true;
    case "set":
      return token.ranges.some(([first, last]) => first <= character && character <= last) !== token.negated;
    case "star":
      return false;
    default: {
      const unreachable: never = token;
      return unreachable;
    }
  }
}
