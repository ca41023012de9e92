/** What the proof of approvals finds: runs that nobody allowed, runs too many, decisions that were lost or told wrong. */
import { expect, test } from "vitest";
import { type AskAudit, auditAsk } from "../../bench/approvals/audit.ts";
import type { Post } from "../../bench/approvals/people.ts";
import { planSessions } from "../../bench/approvals/plan.ts";
import type { ApprovalDecision } from "../../contract/waits.ts";

const LABEL = "asks-00.a0";
const AT = 1_000_000;
const APPROVED: ApprovalDecision = { decision: "approve", by: "person", at: AT, scope: "once" };
const EDITED: ApprovalDecision = { ...APPROVED, arguments: { command: "another" } };
const DENIED: ApprovalDecision = { ...APPROVED, decision: "deny" };

interface Story {
  readonly decision: ApprovalDecision | null;
  /** Labels that were left, with the number of runs. */
  readonly runs?: Readonly<Record<string, number>>;
  readonly ranAt?: number;
  readonly posts?: readonly Partial<Post>[];
}

function offences({ decision, runs = {}, ranAt = AT + 5, posts = [] }: Story): readonly string[] {
  const audit: AskAudit = {
    ask: { label: LABEL, plan: "approve", besides: "nothing", atKillOf: undefined, afterMs: 0 },
    approval: { decision },
    effects: new Map(Object.entries(runs).map(([label, times]) => [label, { times, at: ranAt }])),
    posts: posts.map((post) => ({ ...post, label: LABEL }) as Post),
  };
  return auditAsk(audit).map(({ offence }) => offence);
}

test("what was approved has run once, what was edited as it was edited, what was denied never", () => {
  expect(offences({ decision: APPROVED, runs: { [LABEL]: 1 } })).toEqual([]);
  expect(offences({ decision: EDITED, runs: { [`${LABEL}.edited`]: 1 } })).toEqual([]);
  expect(offences({ decision: DENIED })).toEqual([]);
});

test("an approved command that never ran is lost, and one that ran twice is told", () => {
  expect(offences({ decision: APPROVED })).toEqual(["lost"]);
  expect(offences({ decision: APPROVED, runs: { [LABEL]: 2 } })).toEqual(["run twice"]);
});

test("a command that ran though it was denied, or not as it was edited, ran against the decision", () => {
  expect(offences({ decision: DENIED, runs: { [LABEL]: 1 } })).toEqual(["run against a decision"]);
  expect(offences({ decision: EDITED, runs: { [LABEL]: 1 } })).toEqual(["run against a decision", "lost"]);
});

test("a command that ran before its decision, or has none, ran without one", () => {
  expect(offences({ decision: APPROVED, runs: { [LABEL]: 1 }, ranAt: AT - 1_000 })).toEqual(["run without a decision"]);
  expect(offences({ decision: null, runs: { [LABEL]: 1 } })).toEqual(["lost", "run without a decision"]);
});

test("an answer that is not what stands is wrong", () => {
  const stands = { decision: APPROVED, runs: { [LABEL]: 1 } };
  const refused = { role: "contradict", decision: "deny", status: 409, code: "ALREADY_DECIDED" } as const;
  const posted = { role: "first", decision: "approve", status: 200, stands: APPROVED } as const;

  expect(offences({ ...stands, posts: [posted, { ...refused, stands: APPROVED }] })).toEqual([]);
  expect(offences({ ...stands, posts: [{ ...refused, stands: DENIED }] })).toEqual(["wrong"]);
  expect(offences({ ...stands, posts: [{ ...posted, decision: "deny" }] })).toEqual(["wrong"]);
  expect(offences({ ...stands, posts: [{ ...posted, status: 404, stands: undefined, code: "NOT_FOUND" }] })).toEqual([
    "wrong",
  ]);
});

test("a decision that went to the wrong place must not be taken", () => {
  const post = { role: "misdirected", decision: "approve" } as const;
  const stands = { decision: APPROVED, runs: { [LABEL]: 1 } };

  expect(offences({ ...stands, posts: [{ ...post, status: 409, code: "CONFLICT" }] })).toEqual([]);
  expect(offences({ ...stands, posts: [{ ...post, status: 200, stands: APPROVED }] })).toEqual(["wrong"]);
});

test("a seed decides what is asked and answered, ten times in each session", () => {
  const place = { sessions: 20, effects: "/effects" };
  const plans = planSessions({ ...place, seed: 4 });

  expect(plans.map(({ turns }) => turns.flat().length)).toEqual(Array(20).fill(10));
  expect(planSessions({ ...place, seed: 4 })).toEqual(plans);
  expect(planSessions({ ...place, seed: 5 })).not.toEqual(plans);
});
