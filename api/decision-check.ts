/** What a decision is checked with before it is committed: edited arguments and patterns, against the call that waits. */
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Policy } from "../contract/policy.ts";
import type { DecideApproval } from "../contract/waits.ts";
import { type CallToJudge, judge, matchesArguments, patternFaults } from "../policy/policy.ts";
import type { AskedApproval } from "../store/approval-list.ts";
import { argumentFaults } from "./argument-schema.ts";
import { invalidField } from "./input.ts";

/** Throws INVALID_INPUT that names each wrong place. Whether it may be decided at all is the store's to say. */
export function checkDecision(asked: AskedApproval, body: DecideApproval, policy: Policy | undefined): void {
  const call = callAsDecided(asked, body);
  if (body.arguments && body.decision === "approve") {
    checkArguments(asked, body.arguments);
    // A person decides within the session's policy, and cannot edit a call into what it denies.
    const verdict = judge(policy, call);
    if (verdict.action === "deny") {
      throw invalidField("/arguments", `expected what the session's policy does not deny: ${verdict.reason}`);
    }
  }
  if (body.match) checkPatterns(body.match, call, body.decision);
}

function callAsDecided({ approval, request }: AskedApproval, body: DecideApproval): CallToJudge {
  return {
    tool: approval.name,
    arguments: body.arguments ?? asRecord(approval.arguments),
    argumentKinds: request.argumentKinds,
    changesWorld: request.changesWorld,
    needsApproval: false, // It is being approved.
  };
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function checkArguments({ request }: AskedApproval, args: Readonly<Record<string, unknown>>): void {
  const bytes = Buffer.byteLength(JSON.stringify(args));
  if (bytes > LIMITS.toolArgumentsBytes) {
    throw invalidField("/arguments", `expected at most ${LIMITS.toolArgumentsBytes} bytes; these have ${bytes}`);
  }
  refuse("/arguments", argumentFaults(request.schema, args));
}

function checkPatterns(
  match: NonNullable<DecideApproval["match"]>,
  call: CallToJudge,
  decision: DecideApproval["decision"],
): void {
  refuse("/match", patternFaults(match, call.argumentKinds));
  if (matchesArguments(match, call, decision === "deny" ? "deny" : "allow")) return;
  throw invalidField(
    "/match",
    "expected patterns that match the arguments of this call: it is the one you decide; to approve, they must cover every command of its line, and the line must be a plain one (docs/policy.md)",
  );
}

const FAULTS_MAX = 20;

function refuse(root: string, faults: readonly { readonly path: string; readonly message: string }[]): void {
  const [first] = faults;
  if (!first) return;
  const errors = faults.slice(0, FAULTS_MAX).map(({ path, message }) => ({ path: root + path, message }));
  const words = errors.slice(0, 3).map(({ path, message }) => `${path}: ${message}`);
  const more = faults.length > words.length ? `; and ${faults.length - words.length} more` : "";
  throw new ProblemError("INVALID_INPUT", words.join("; ") + more, { errors });
}
