/** What is wrong with a policy before it is used: patterns that cannot be read, globs that lead out of the workspace. */
import { LIMITS } from "../contract/limits.ts";
import type { ArgumentPatterns, Policy } from "../contract/policy.ts";
import type { ArgumentKind } from "./arguments.ts";
import { compileGlob } from "./paths.ts";
import { compilePattern, matches } from "./patterns.ts";

export interface Fault {
  /** JSON pointer, below what was looked at. */
  readonly path: string;
  readonly message: string;
}

/** The built-in tools' arguments that are not text. A policy is looked at before anyone knows the worker's own tools. */
const KNOWN_TOOLS: Readonly<Record<string, Readonly<Record<string, ArgumentKind>>>> = {
  bash: { command: "command", cwd: "path" },
  read_file: { path: "path" },
  write_file: { path: "path" },
  edit_file: { path: "path" },
  list_files: { path: "path" },
  grep: { path: "path" },
};

export function policyFaults(policy: Policy): readonly Fault[] {
  return policy.rules.flatMap((rule, index) => {
    const below = `/rules/${index}`;
    const tool = textFaults(rule.tool).map((message) => ({ path: `${below}/tool`, message }));
    const patterns = patternFaults(rule.arguments ?? {}, kindsFor(rule.tool));
    return [...tool, ...patterns.map(({ path, message }) => ({ path: `${below}/arguments${path}`, message }))];
  });
}

/** Of the patterns of a rule or a grant. An argument whose kind is not given is text. */
export function patternFaults(
  patterns: ArgumentPatterns,
  kinds: Readonly<Record<string, ArgumentKind>> = {},
): readonly Fault[] {
  return Object.entries(patterns).flatMap(([name, pattern]) => {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    return [...textFaults(pattern), ...(kind === "path" ? globFaults(pattern) : [])].map((message) => ({
      path: `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`,
      message,
    }));
  });
}

/** The kinds of all built-in tools that a rule's tool pattern speaks of. */
function kindsFor(tool: string): Readonly<Record<string, ArgumentKind>> {
  const pattern = compilePattern(tool);
  const known = Object.entries(KNOWN_TOOLS).filter(([name]) => matches(pattern, name));
  return Object.assign({}, ...known.map(([, kinds]) => kinds));
}

function textFaults(pattern: string): readonly string[] {
  if (pattern.trim() === "") return ["the pattern is empty: * stands for any text"];
  if (pattern.length > LIMITS.patternCharactersMax) {
    return [`the pattern is longer than ${LIMITS.patternCharactersMax} characters`];
  }
  return pattern.includes("\0") ? ["the pattern holds a NUL, which no argument can"] : [];
}

function globFaults(pattern: string): readonly string[] {
  const glob = compileGlob(pattern);
  return "fault" in glob ? [`the glob ${glob.fault}`] : [];
}
