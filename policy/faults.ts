/** What is wrong with a policy before it is used: patterns that cannot be read or say nothing, globs that lead out of the workspace. */
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

type Kinds = Readonly<Record<string, ArgumentKind | "text">>;

/** The built-in tools' arguments. A policy is looked at before anyone knows the worker's own tools. */
const KNOWN_TOOLS: ReadonlyMap<string, Kinds> = new Map<string, Kinds>([
  ["bash", { command: "command", cwd: "path", timeoutMs: "text" }],
  ["read_file", { path: "path", offset: "text", limit: "text" }],
  ["write_file", { path: "path", content: "text" }],
  ["edit_file", { path: "path", oldText: "text", newText: "text", all: "text" }],
  ["list_files", { path: "path", depth: "text" }],
  ["grep", { pattern: "text", path: "path", glob: "text" }],
  ["ask_user", { question: "text", choices: "text", allowFreeform: "text" }],
]);

/** `tools` are the agent's: another tool by a built-in one's name is a client's, with arguments of its own. */
export function policyFaults(policy: Policy, tools: readonly string[] = [...KNOWN_TOOLS.keys()]): readonly Fault[] {
  return policy.rules.flatMap((rule, index) => {
    const below = `/rules/${index}`;
    const tool = textFaults(rule.tool).map((message) => ({ path: `${below}/tool`, message }));
    const patterns = [
      ...patternFaults(rule.arguments ?? {}, kindsFor(rule.tool)),
      ...(tools.includes(rule.tool) ? nameFaults(rule.tool, rule.arguments ?? {}) : []),
    ];
    return [...tool, ...patterns.map(({ path, message }) => ({ path: `${below}/arguments${path}`, message }))];
  });
}

/** A pattern for an argument that its tool does not have matches no call: what it should forbid would run. */
function nameFaults(tool: string, patterns: ArgumentPatterns): readonly Fault[] {
  const known = KNOWN_TOOLS.get(tool);
  if (known === undefined) return [];
  const unknown = Object.keys(patterns).filter((name) => !Object.hasOwn(known, name));
  const message = `${tool} has no such argument; it has ${Object.keys(known).join(", ")}`;
  return unknown.map((name) => ({ path: pointerTo(name), message }));
}

/** Of the patterns of a rule or a grant. An argument whose kind is not given is text. */
export function patternFaults(patterns: ArgumentPatterns, kinds: Kinds = {}): readonly Fault[] {
  return Object.entries(patterns).flatMap(([name, pattern]) => {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    return [...textFaults(pattern), ...(kind === "path" ? globFaults(pattern) : [])].map((message) => ({
      path: pointerTo(name),
      message,
    }));
  });
}

/** The kinds of all built-in tools that a rule's tool pattern speaks of. */
function kindsFor(tool: string): Kinds {
  const pattern = compilePattern(tool);
  const known = [...KNOWN_TOOLS].filter(([name]) => matches(pattern, name));
  return Object.assign({}, ...known.map(([, kinds]) => kinds));
}

function pointerTo(name: string): string {
  return `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
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
