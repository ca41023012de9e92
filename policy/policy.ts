/** The judgement on a tool call: allow, ask a person, or deny. Pure: the same policy and call give the same verdict. */
import { LIMITS } from "../contract/limits.ts";
import type { ArgumentPatterns, Policy, PolicyAction } from "../contract/policy.ts";
import { visibleText } from "../contract/visible-text.ts";
import { type CallToJudge, kindOf, type Reading, readCall } from "./arguments.ts";
import { readWithoutParser } from "./command.ts";
import { isEverything, matches } from "./patterns.ts";
import {
  compileArguments,
  isAboutCommands,
  isSuspected,
  matchPatterns,
  type Rule,
  rulesOf,
  type Unit,
  unitsOf,
} from "./rules.ts";

import { compileCommandPattern, covers } from "./segments.ts";

export type { ArgumentKind, CallToJudge } from "./arguments.ts";
export { type Fault, patternFaults, policyFaults } from "./faults.ts";

export interface Verdict {
  readonly action: PolicyAction;
  /** For a person, and of a denial for the model: the rule and, where there are several, the command that decided. */
  readonly reason: string;
}

/** Of one unit; `rule` is the one that decided, without it the default did. */
interface Judgement extends Verdict {
  readonly rule?: Rule;
}

const STRICTNESS: Readonly<Record<PolicyAction, number>> = { allow: 0, ask: 1, deny: 2 };
/** Of a command or a pattern, as reasons quote it. */
const QUOTED_CHARACTERS = 200;

/** Never throws. Without a policy calls are allowed, unless the tool itself asks for an approval. */
export function judge(policy: Policy | undefined, call: CallToJudge): Verdict {
  if (policy === undefined) {
    return call.needsApproval ? approvalNeeded() : { action: "allow", reason: "the session has no policy" };
  }
  const rules = rulesOf(policy).filter(({ tool }) => matches(tool, call.tool));
  const reading = readCall(call);
  const judgements = unitsOf(reading).map((unit) => judgeUnit({ policy, rules, reading }, unit));
  const { action, reason } = judgements.reduce((strictest, one) =>
    STRICTNESS[one.action] > STRICTNESS[strictest.action] ? one : strictest,
  );
  const shown =
    reason.length > LIMITS.reasonCharactersMax ? `${reason.slice(0, LIMITS.reasonCharactersMax - 1)}…` : reason;
  return { action, reason: shown };
}

/**
 * Whether remembered patterns speak of the call, as those of a rule with this action would: to allow, they must cover every
 * command of a line; to deny, one command that they speak of is enough.
 */
export function matchesArguments(
  patterns: ArgumentPatterns,
  call: CallToJudge,
  action: "allow" | "deny" = "allow",
): boolean {
  const reading = readCall(call);
  const compiled = compileArguments(patterns);
  const units = unitsOf(reading).filter((unit) => !isSuspected(unit));
  const isMatch = (unit: Unit): boolean => matchPatterns(compiled, action, { reading, unit }) === "yes";
  return action === "allow" ? units.every(isMatch) : units.some(isMatch);
}

/**
 * Whether each command of a plain line is covered by one of these patterns for bash. Its cost grows with the line's length:
 * a line that is not plain is covered by `*` alone, and not parsed.
 */
export function coversLine(patterns: readonly string[], line: string): boolean {
  const compiled = patterns.map(compileCommandPattern);
  if (compiled.some(({ whole }) => isEverything(whole))) return true;
  const read = readWithoutParser(line);
  if (read === undefined || read.unread !== undefined) return false;
  return read.segments.every((segment) => compiled.some((pattern) => covers(pattern, segment)));
}

interface Case {
  readonly policy: Policy;
  /** Those whose tool pattern matches. */
  readonly rules: readonly Rule[];
  readonly reading: Reading;
}

function judgeUnit({ policy, rules, reading }: Case, unit: Unit): Judgement {
  let possible: Rule | undefined;
  let mentioned: Rule | undefined;
  for (const rule of rules) {
    if (isSuspected(unit) && !isAboutCommands(rule, unit)) continue;
    const { action } = rule.rule;
    const match = matchPatterns(rule.patterns, action, { reading, unit });
    if (match === "maybe") possible ??= rule;
    if (match === "mentioned") mentioned ??= rule;
    // A program may run what it is given as a text. Who allows the program by its name has thought of that.
    const suspicious = possible ?? (isAboutCommands(rule, unit) ? undefined : mentioned);
    if (match === "yes") return atLeastAsk(byRule(rule, unit), suspicious, unit);
  }
  if (isSuspected(unit)) return { action: "allow", reason: "it is no command" };
  return atLeastAsk(byDefault({ policy, rules, reading }, unit), possible ?? mentioned, unit);
}

function byRule(rule: Rule, unit: Unit): Judgement {
  const reason = rule.rule.reason === undefined ? "" : `: ${rule.rule.reason}`;
  return { action: rule.rule.action, rule, reason: `${nameOf(rule)}${reason}${decidedBy(unit)}` };
}

function byDefault({ policy, rules, reading: { call } }: Case, unit: Unit): Judgement {
  const fallback = policy.default ?? (call.changesWorld ? "ask" : "allow");
  const kind = call.changesWorld ? "tools that change the world ask" : "tools that change nothing are allowed";
  const said = policy.default === undefined ? kind : `the default is ${fallback}`;
  const byDefault: Judgement = { action: fallback, reason: `no rule matches; ${said}${decidedBy(unit)}` };
  if (fallback !== "allow") return byDefault;
  if (
    unit.type === "unread" &&
    rules.some((rule) => rule.patterns.some(({ name }) => kindOf(call, name) === "command"))
  ) {
    return {
      action: "ask",
      reason: `there are rules for commands, and they allow plain command lines only${decidedBy(unit)}`,
    };
  }
  return call.needsApproval ? approvalNeeded() : byDefault;
}

/** What a stricter rule before could still turn out to speak of is not allowed without a question. */
function atLeastAsk(judgement: Judgement, possible: Rule | undefined, unit: Unit): Judgement {
  if (possible === undefined || judgement.action !== "allow") return judgement;
  return {
    action: "ask",
    rule: possible,
    reason: `${nameOf(possible)} might match once this has run${decidedBy(unit)}`,
  };
}

function approvalNeeded(): Judgement {
  return { action: "ask", reason: "the tool asks for an approval, and no rule allows it" };
}

/** `rule 2 (bash, command: rm *)`. */
function nameOf({ number, rule }: Rule): string {
  const patterns = Object.entries(rule.arguments ?? {}).map(([name, pattern]) => `${name}: ${quotable(pattern)}`);
  return `rule ${number} (${[quotable(rule.tool), ...patterns].join(", ").slice(0, 2 * QUOTED_CHARACTERS)})`;
}

function decidedBy(unit: Unit): string {
  switch (unit.type) {
    case "command":
      return unit.segment.shown === "" ? "" : `; command: ${quotable(unit.segment.shown)}`;
    case "unread":
      return `; the command line ${quotable(unit.unread.why)}`;
    case "call":
      return "";
    default: {
      const unreachable: never = unit;
      return unreachable;
    }
  }
}

/** On one line and cut, with the name of each character that does not show. */
function quotable(text: string): string {
  const line = visibleText(text.slice(0, QUOTED_CHARACTERS + 1).replace(/[\n\t]+/g, " "));
  return line.length > QUOTED_CHARACTERS ? `${line.slice(0, QUOTED_CHARACTERS - 1)}…` : line;
}
