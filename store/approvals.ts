/** A person's decision on a call: bound to the call and to the arguments that were looked at, and made once. */
import { ProblemError } from "../contract/errors.ts";
import type { Fact } from "../contract/events.ts";
import type { CallId, GrantId, SessionId } from "../contract/ids.ts";
import type { ApprovalDecision, DecideApproval, DecisionTaken } from "../contract/waits.ts";
import { contentHash } from "./content-hash.ts";
import type { Database, Tx } from "./database.ts";
import { boundKey, type Decided, decideFirst, unfit } from "./first-decision.ts";
import { makeGrant } from "./grants.ts";
import type { WaitsTable } from "./schema.ts";
import { projectOf } from "./session-setup.ts";
import { decidedFact, denyCall, markDecided, placeOf, requestOf, resumeSession } from "./wait-endings.ts";
import { type ApprovalRequest, openWait } from "./waits.ts";

export interface Approving {
  readonly sessionId: SessionId;
  readonly callId: CallId;
  /** Its arguments fit the tool's schema, and its patterns the call: that is the caller's to check. */
  readonly body: DecideApproval;
  /** The Idempotency-Key of the request. */
  readonly key?: string | undefined;
}

/**
 * Commits a decision with all it brings about: its events, the call's state, the result of a denied one, what is remembered.
 * Throws NOT_FOUND, ALREADY_DECIDED with the first, CONFLICT when the call has other arguments, or INVALID_INPUT.
 */
export async function decideApproval(database: Database, approving: Approving): Promise<DecisionTaken> {
  const { sessionId, callId, body } = approving;
  const key = boundKey(approving.key, body);
  const decision = await decideFirst(database, { sessionId, callId, kind: "approval", key }, async (tx, wait) => {
    refuseUnfit(wait, body);
    return body.decision === "approve"
      ? await approve(tx, wait, { ...approving, key })
      : await deny(tx, wait, { ...approving, key });
  });
  return { ...decision, callId };
}

function refuseUnfit(wait: WaitsTable, body: DecideApproval): void {
  const { argumentsHash, decision, scope } = body;
  if (argumentsHash !== undefined && argumentsHash !== wait.arguments_hash) {
    throw new ProblemError(
      "CONFLICT",
      `the decision is for arguments with the hash ${argumentsHash}, and call ${wait.call_id} has others, with ${wait.arguments_hash}; look at it again`,
    );
  }
  if (decision === "deny" && body.arguments) throw unfit("/arguments", "expected none: a denied call is not run");
  if (scope === "once" && body.match) throw unfit("/match", "expected none with scope once: nothing is remembered");
  if (!(requestOf(wait) as ApprovalRequest).again) return;
  // What runs again is what may have run before, and it says nothing of calls that never ran.
  if (body.arguments)
    throw unfit("/arguments", "expected none: this call may have run already, with its own arguments");
  if (scope !== "once") throw unfit("/scope", "expected once: whether a lost call may run again is not remembered");
}

async function deny(tx: Tx, wait: WaitsTable, { body, key }: Approving): Promise<Decided<ApprovalDecision>> {
  const grantId = await remember(tx, wait, { body, argumentsHash: wait.arguments_hash });
  const decision = decisionOf(body, grantId);
  return { decision, facts: await denyCall(tx, wait, { decision, key }) };
}

async function approve(tx: Tx, wait: WaitsTable, { body, key }: Approving): Promise<Decided<ApprovalDecision>> {
  const argumentsHash = body.arguments ? contentHash(body.arguments) : wait.arguments_hash;
  const grantId = await remember(tx, wait, { body, argumentsHash });
  const decision = decisionOf(body, grantId);
  await markDecided(tx, wait, { decision, key });
  await planCall(tx, wait, body.arguments && { arguments: body.arguments, argumentsHash });
  const facts: Fact[] = [decidedFact(wait, decision, argumentsHash)];
  const { tool } = requestOf(wait) as ApprovalRequest;
  if (tool) {
    const place = { ...placeOf(wait), sessionId: wait.session_id, name: wait.name };
    const args: unknown = body.arguments ?? JSON.parse(wait.arguments);
    const deadline = decision.at + tool.timeoutMs;
    const request = { kind: "tool" as const, replay: tool.replay };
    facts.push(await openWait(tx, { ...place, arguments: args, argumentsHash, deadline, request }));
  }
  await resumeSession(tx, wait);
  return { decision, facts };
}

function decisionOf(body: DecideApproval, grantId: GrantId | undefined): ApprovalDecision {
  return {
    decision: body.decision,
    by: "person",
    at: Date.now(),
    scope: body.scope,
    ...(body.reason !== undefined && { reason: body.reason }),
    ...(body.arguments && { arguments: body.arguments }),
    ...(grantId && { grantId }),
  };
}

/** The call may be run, with the arguments that it has now. */
async function planCall(
  tx: Tx,
  wait: WaitsTable,
  edited: { readonly arguments: Record<string, unknown>; readonly argumentsHash: string } | undefined,
): Promise<void> {
  const call = await tx
    .updateTable("tool_calls")
    .set({
      state: "planned",
      ...(edited && {
        arguments: JSON.stringify(edited.arguments),
        arguments_hash: edited.argumentsHash,
        edited: 1,
      }),
    })
    .where("id", "=", wait.call_id)
    .where("session_id", "=", wait.session_id)
    .where("outcome", "is", null)
    .returning("id")
    .executeTakeFirst();
  if (!call) throw new Error(`call ${wait.call_id} waits for an approval, and has its result already`);
}

async function remember(
  tx: Tx,
  wait: WaitsTable,
  decided: { readonly body: DecideApproval; readonly argumentsHash: string },
): Promise<GrantId | undefined> {
  const { scope, match, reason, decision } = decided.body;
  if (scope === "once") return undefined;
  return await makeGrant(tx, {
    scope,
    sessionId: scope === "session" ? wait.session_id : null,
    project: scope === "project" ? await rememberedProject(tx, wait.session_id) : null,
    tool: wait.name,
    action: decision === "approve" ? "allow" : "deny",
    match: match ?? null,
    argumentsHash: match ? null : decided.argumentsHash,
    reason: reason ?? null,
    callId: wait.call_id as CallId,
  });
}

async function rememberedProject(tx: Tx, sessionId: SessionId): Promise<string> {
  const session = await tx.selectFrom("sessions").select("metadata").where("id", "=", sessionId).executeTakeFirst();
  const project = projectOf(JSON.parse(session?.metadata ?? "{}") as Record<string, string>);
  if (project !== null) return project;
  throw unfit("/scope", "expected another scope: the session has no metadata.project that says which project is meant");
}
