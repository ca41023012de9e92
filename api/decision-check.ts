/** What a decision is checked with before it is committed: edited arguments and patterns, against the call that waits. */
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Policy } from "../contract/policy.ts";
import type { DecideApproval } from "../contract/waits.ts";
import type { CallToJudge } from "../policy/policy.ts";
import type { AskedApproval } from "../store/approval-list.ts";
import { faultsOfPatterns, judgeCall, matchRemembered } from "../threads/judgement.ts";
import { faultsOfArguments } from "../threads/schemas.ts";
import { invalidField } from "./input.ts";

/** Throws INVALID_INPUT that names each wrong place. Whether it may be decided at all is the store's to say. */
export async function checkDecision(
  asked: AskedApproval,
  body: DecideApproval,
  policy: Policy | undefined,
): Promise<void> {
  const call = callAsDecided(asked, body);
  if (body.arguments && body.decision === "approve") {
    await checkArguments(asked, body.arguments);
    // A person decides within the session's policy, and cannot edit a call into what it denies.
    const verdict = await judgeCall(policy, call, asked.approval.sessionId);
    if (verdict.action === "deny") {
      throw invalidField("/arguments", `expected what the session's policy does not deny: ${verdict.reason}`);
    }
  }
  if (body.match) await checkPatterns(asked, call, body);
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

async function checkArguments({ request }: AskedApproval, args: Readonly<Record<string, unknown>>): Promise<void> {
  const bytes = Buffer.byteLength(JSON.stringify(args));
  if (bytes > LIMITS.toolArgumentsBytes) {
    throw invalidField("/arguments", `expected at most ${LIMITS.toolArgumentsBytes} bytes; these have ${bytes}`);
  }
  refuse("/arguments", await faultsOfArguments(request.schema, args));
}

async function checkPatterns(
  asked: AskedApproval,
  call: CallToJudge,
  { match = {}, decision }: DecideApproval,
): Promise<void> {
  refuse("/match", await faultsOfPatterns(match, call.argumentKinds));
  const action = decision === "deny" ? "deny" : "allow";
  const [isMatch] = await matchRemembered([{ match, action }], call, asked.approval.sessionId);
  if (isMatch === true) return;
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
