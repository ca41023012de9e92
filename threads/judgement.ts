/** The policy's judgement within a bound: at once where it is cheap for certain, else on a thread with a deadline. */
import type { ArgumentPatterns, Policy } from "../contract/policy.ts";
import { isCheap, isCheapPolicy } from "../policy/cost.ts";
import {
  type CallToJudge,
  type Fault,
  judge,
  matchesArguments,
  patternFaults,
  policyFaults,
  type Verdict,
} from "../policy/policy.ts";
import { answerOf } from "./process-pool.ts";
import type { Remembered } from "./tasks.ts";

const TOO_MUCH = "what this call would run could not be told in good time";

/** @param key Whose call it is: one session's hard calls wait for each other. */
export async function judgeCall(policy: Policy | undefined, call: CallToJudge, key: string): Promise<Verdict> {
  if (policy === undefined || isCheap([policy], call)) return judge(policy, call);
  const outcome = await answerOf({ type: "judge", policy, call }, key);
  if (outcome.ended === "done") return outcome.answer;
  return { action: policy.default === "deny" ? "deny" : "ask", reason: TOO_MUCH };
}

/** Of each remembered decision whether it speaks of the call. What cannot be told in time is remembered by none. */
export async function matchRemembered(
  remembered: readonly Remembered[],
  call: CallToJudge,
  key: string,
): Promise<readonly boolean[]> {
  if (
    isCheap(
      remembered.map(({ match }) => asPolicy(match)),
      call,
    )
  ) {
    return remembered.map(({ match, action }) => matchesArguments(match, call, action));
  }
  const outcome = await answerOf({ type: "match", remembered, call }, key);
  return outcome.ended === "done" ? outcome.answer : remembered.map(() => false);
}

export async function faultsOfPolicy(policy: Policy, tools: readonly string[]): Promise<readonly Fault[]> {
  if (isCheapPolicy(policy)) return policyFaults(policy, tools);
  const outcome = await answerOf({ type: "policy_faults", policy, tools }, "policies");
  if (outcome.ended === "done") return outcome.answer;
  return [{ path: "/rules", message: "the patterns take too long to be read: write fewer or shorter ones" }];
}

export async function faultsOfPatterns(
  patterns: ArgumentPatterns,
  kinds: CallToJudge["argumentKinds"],
): Promise<readonly Fault[]> {
  if (isCheapPolicy(asPolicy(patterns))) return patternFaults(patterns, kinds);
  const outcome = await answerOf({ type: "pattern_faults", patterns, kinds }, "policies");
  if (outcome.ended === "done") return outcome.answer;
  return [{ path: "", message: "the patterns take too long to be read: write fewer or shorter ones" }];
}

function asPolicy(match: ArgumentPatterns): Policy {
  return { rules: [{ tool: "*", arguments: match, action: "allow" }] };
}
