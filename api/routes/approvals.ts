/** Approvals: what waits for a person, over all sessions or in one, and the person's decision. */
import { z } from "zod";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { ApprovalList, DecideApproval, DecisionTaken, WaitState } from "../../contract/waits.ts";
import { findApproval, listApprovals } from "../../store/approval-list.ts";
import { decideApproval } from "../../store/approvals.ts";
import { getSession } from "../../store/sessions.ts";
import { checkDecision } from "../decision-check.ts";
import type { Dependencies } from "../dependencies.ts";
import { IdempotencyHeaders, idempotencyKey } from "../idempotency.ts";
import { type Operation, operation, type Reply } from "../operation.ts";
import { fromCursor, toCursor } from "../page-cursor.ts";
import { CallParams, integerParameter, SessionParams } from "../parameters.ts";

const JSON_TYPE = "application/json";
const ORDER = "Of what is pending the oldest comes first, because it has waited longest; of all else the newest.";

export function approvalOperations(deps: Dependencies): readonly Operation[] {
  return [inboxOperation(deps), listOperation(deps), decideOperation(deps)];
}

const SessionQuery = z.strictObject({
  status: WaitState.optional(),
  limit: integerParameter({ min: 1, max: LIMITS.approvalsPerPage.max }, "a page size").optional(),
  cursor: z.string().max(200).optional().meta({ description: "`next` of the page before; with the same status." }),
});

const InboxQuery = SessionQuery.extend({
  sessionId: SessionParams.shape.sessionId.optional(),
  agent: z.string().min(1).max(100).optional().meta({ description: "The agent's name, or the stored agent's id." }),
});

function inboxOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/approvals",
    id: "listApprovals",
    summary: "List the approvals of all sessions",
    description: `\`status=pending\` is the inbox. ${ORDER}`,
    query: InboxQuery,
    answers: { 200: { description: "A page of approvals.", contentType: JSON_TYPE, schema: ApprovalList } },
    problems: [],
    handle: async ({ query }) => await pageOf(deps, query),
  });
}

function listOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sessions/{sessionId}/approvals",
    id: "listSessionApprovals",
    summary: "List the approvals of a session",
    description: ORDER,
    params: SessionParams,
    query: SessionQuery,
    answers: { 200: { description: "A page of approvals.", contentType: JSON_TYPE, schema: ApprovalList } },
    problems: ["SESSION_NOT_FOUND"],
    handle: async ({ params, query }) => {
      const { id } = await getSession(deps.store.database, params.sessionId);
      return await pageOf(deps, { ...query, sessionId: id });
    },
  });
}

interface PageQuery extends z.output<typeof SessionQuery> {
  readonly sessionId?: SessionId | undefined;
  readonly agent?: string | undefined;
}

async function pageOf(deps: Dependencies, query: PageQuery): Promise<Reply> {
  const limit = query.limit ?? LIMITS.approvalsPerPage.default;
  const { rows: approvals, hasMore } = await listApprovals(deps.store.database, {
    state: query.status,
    sessionId: query.sessionId,
    agent: query.agent,
    after: query.cursor === undefined ? undefined : fromCursor(query.cursor),
    limit,
  });
  const last = approvals.at(-1);
  const next = hasMore && last ? toCursor({ at: last.requestedAt, id: last.callId }) : null;
  return { status: 200, body: { approvals, next } };
}

function decideOperation(deps: Dependencies): Operation {
  return operation({
    method: "post",
    path: "/v1/sessions/{sessionId}/approvals/{callId}",
    id: "decideApproval",
    summary: "Approve or deny a call",
    description:
      "The decision is committed before the answer, and the call is run or its denial told to the model at once. The first decision stands; " +
      "a later one is answered with 409 and the `first`. The same `Idempotency-Key` is the same decision.",
    headers: IdempotencyHeaders,
    params: CallParams,
    body: DecideApproval,
    answers: { 200: { description: "It is decided.", contentType: JSON_TYPE, schema: DecisionTaken } },
    problems: ["SESSION_NOT_FOUND", "NOT_FOUND", "ALREADY_DECIDED", "CONFLICT"],
    handle: async ({ params, body, request }) => {
      const { database } = deps.store;
      const key = idempotencyKey(request);
      const session = await getSession(database, params.sessionId);
      const asked = await findApproval(database, params);
      // Of one that is decided only the store knows whether this is a repeat of that decision.
      if (asked?.approval.state === "pending") await checkDecision(asked, body, session.agent.policy);
      return await deps.decisions.decided(params.callId, decideApproval(database, { ...params, body, key }));
    },
  });
}
