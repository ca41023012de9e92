/** Whether a judgement is cheap for certain, by counting what it would look at: then it may be made at once. */
import { LIMITS } from "../contract/limits.ts";
import type { Policy } from "../contract/policy.ts";
import { type CallToJudge, readCheaply } from "./arguments.ts";

/** Whether all these policies together can judge the call in a few milliseconds. What the call's lines are read for is kept. */
export function isCheap(policies: readonly Policy[], call: CallToJudge): boolean {
  const rules = policies.flatMap((policy) => policy.rules);
  const patterns = rules.flatMap((rule) => [rule.tool, ...Object.values(rule.arguments ?? {})]);
  const characters = sizeOf(call.arguments, LIMITS.judgedAtOnceCharacters + 1);
  if (characters > LIMITS.judgedAtOnceCharacters) return false;
  if (patternsCost(patterns) + characters * (patterns.length + 1) > LIMITS.judgedAtOnceSteps) return false;
  return readCheaply(call);
}

export function isCheapPolicy({ rules }: Policy): boolean {
  return (
    patternsCost(rules.flatMap((rule) => [rule.tool, ...Object.values(rule.arguments ?? {})])) <=
    LIMITS.judgedAtOnceSteps
  );
}

/** Braces multiply a glob, up to 64 times. */
function patternsCost(patterns: readonly string[]): number {
  return patterns.reduce((sum, pattern) => sum + pattern.length * (pattern.includes("{") ? 64 : 1), 0);
}

/** The characters of all texts and names in a value, counted up to a bound. */
function sizeOf(value: unknown, bound: number): number {
  let size = 0;
  const open: unknown[] = [value];
  while (open.length > 0 && size < bound) {
    const next = open.pop();
    size += 1;
    if (typeof next === "string") size += next.length;
    if (typeof next !== "object" || next === null) continue;
    for (const name in next) {
      size += name.length;
      if (size >= bound) break;
      open.push((next as Record<string, unknown>)[name]);
    }
  }
  return size;
}
