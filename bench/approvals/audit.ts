/** What became of a session's approvals: what stands in the store and the log, beside what was answered and what has run. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { Approval, ApprovalDecision, ApprovalList } from "../../contract/waits.ts";
import { checkSequence, checkStream, wholeLog } from "../chaos/checks.ts";
import type { ChaosClient } from "../chaos/client.ts";
import { structureOf } from "../chaos/log-structure.ts";
import type { Post } from "./people.ts";
import { editedLabel, type PlannedAsk, type SessionPlan } from "./plan.ts";

/** lost: a decision, a question or a result. wrong: an answer that is not what stands, or a log that cannot be. */
export type Offence = "lost" | "run twice" | "run without a decision" | "run against a decision" | "wrong";

export interface Finding {
  readonly offence: Offence;
  readonly detail: string;
}

export type Fate = "approved" | "edited" | "denied" | "expired";

export interface Audit {
  readonly asked: number;
  readonly fates: readonly Fate[];
  readonly findings: readonly Finding[];
}

/** The clock of files is coarse: it may lag behind by one tick of the kernel. */
const FILE_CLOCK_MS = 20;

interface Effect {
  readonly times: number;
  readonly at: number;
}

/** A file per label, a line per run. */
export function effectsIn(folder: string): ReadonlyMap<string, Effect> {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return new Map(
    names.map((name) => {
      const file = path.join(folder, name);
      return [name, { times: readFileSync(file, "utf8").split("\n").length - 1, at: statSync(file).mtimeMs }];
    }),
  );
}

export async function auditSession(client: ChaosClient, plan: SessionPlan, posts: readonly Post[]): Promise<Audit> {
  const log = await wholeLog(client);
  const { approvals } = await client.get<ApprovalList>("/approvals?limit=200");
  const effects = effectsIn(plan.effects);
  const { faults } = structureOf(log, plan.id);
  const wrong = [...checkSequence(log), ...checkStream(client, log), ...faults, ...client.faults];
  const findings: Finding[] = wrong.map((detail) => ({ offence: "wrong", detail: `${plan.id}: ${detail}` }));
  const asks = plan.turns.flat();
  const labels = new Set(asks.flatMap(({ label }) => [label, editedLabel(label)]));
  for (const label of effects.keys()) {
    if (!labels.has(label))
      findings.push({ offence: "run without a decision", detail: `${label}: nobody asked for it` });
  }
  const fates: Fate[] = [];
  for (const ask of asks) {
    const approval = approvals.find((one) => labelOf(one) === ask.label);
    findings.push(...auditAsk({ ask, approval, effects, posts: posts.filter(({ label }) => label === ask.label) }));
    if (approval?.decision) fates.push(fateOf(approval.decision));
  }
  return { asked: approvals.length, fates, findings };
}

function labelOf({ arguments: args }: Approval): string | undefined {
  return /^: ask (\S+);/.exec(String((args as { readonly command?: unknown }).command))?.[1];
}

function fateOf({ decision, by, arguments: edited }: ApprovalDecision): Fate {
  if (decision === "deny") return by === "deadline" ? "expired" : "denied";
  return edited === undefined ? "approved" : "edited";
}

export interface AskAudit {
  readonly ask: PlannedAsk;
  /** As the store tells it in the end. */
  readonly approval: Pick<Approval, "decision"> | undefined;
  readonly effects: ReadonlyMap<string, Effect>;
  readonly posts: readonly Post[];
}

export function auditAsk({ ask, approval, effects, posts }: AskAudit): readonly Finding[] {
  const { label } = ask;
  const of = (offence: Offence, words: string): Finding => ({ offence, detail: `${label} (${ask.plan}): ${words}` });
  const runs = [label, editedLabel(label)].flatMap((name) => {
    const effect = effects.get(name);
    return effect ? [{ name, ...effect }] : [];
  });
  const findings = runs.filter(({ times }) => times > 1).map(({ times }) => of("run twice", `it ran ${times} times`));
  const decision = approval?.decision;
  if (!decision) {
    findings.push(of("lost", approval ? "nobody's decision stands" : "it was never asked about"));
    if (runs.length > 0) findings.push(of("run without a decision", "it ran"));
    return findings;
  }
  const allowed = allowedRun(label, decision);
  for (const run of runs) {
    if (run.name !== allowed) findings.push(of("run against a decision", `${run.name} ran`));
    else if (run.at < decision.at - FILE_CLOCK_MS) findings.push(of("run without a decision", "it ran before"));
  }
  if (allowed !== undefined && !effects.has(allowed)) findings.push(of("lost", `${allowed} never ran`));
  return [...findings, ...auditPosts(posts, decision).map((words) => of("wrong", words))];
}

function allowedRun(label: string, decision: ApprovalDecision): string | undefined {
  if (decision.decision === "deny") return undefined;
  return decision.arguments === undefined ? label : editedLabel(label);
}

/** Whoever was answered 200 has decided; whoever was answered 409 was told who had. */
function auditPosts(posts: readonly Post[], decision: ApprovalDecision): readonly string[] {
  return posts.flatMap((post) => {
    const { role, status, stands, code } = post;
    if (role === "misdirected") {
      return code === "CONFLICT" || code === "NOT_FOUND" || code === "ALREADY_DECIDED"
        ? []
        : [`a misdirected decision answered ${status}`];
    }
    if (status !== 200 && code !== "ALREADY_DECIDED") return [`its ${role} was answered ${status} ${code}`];
    if (stands?.at !== decision.at || stands.decision !== decision.decision || stands.by !== decision.by) {
      return [`its ${role} was told that ${JSON.stringify(stands)} stands, and it is ${JSON.stringify(decision)}`];
    }
    return status === 200 && stands.decision !== post.decision
      ? [`its ${role} ${post.decision} got a ${stands.decision}`]
      : [];
  });
}
