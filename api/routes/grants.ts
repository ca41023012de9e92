/** Remembered decisions: what is decided without asking, and how to take that back. */
import { z } from "zod";
import { ProblemError } from "../../contract/errors.ts";
import { GrantId, SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { Grant, GrantList } from "../../contract/waits.ts";
import { listGrants, revokeGrant } from "../../store/grants.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";
import { fromCursor, toCursor } from "../page-cursor.ts";
import { integerParameter } from "../parameters.ts";

export function grantOperations(deps: Dependencies): readonly Operation[] {
  return [listOperation(deps), revokeOperation(deps)];
}

const GrantQuery = z.strictObject({
  scope: Grant.shape.scope.optional(),
  sessionId: SessionId.optional().meta({ description: "Those of scope session, of this one." }),
  tool: z.string().min(1).max(100).optional(),
  revoked: z.enum(["true", "false"]).default("false").meta({ description: "true: those that count no more." }),
  limit: integerParameter({ min: 1, max: LIMITS.approvalsPerPage.max }, "a page size").optional(),
  cursor: z.string().max(200).optional().meta({ description: "`next` of the page before." }),
});

function listOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/grants",
    id: "listGrants",
    summary: "List remembered decisions, newest first",
    query: GrantQuery,
    answers: { 200: { description: "A page of grants.", contentType: "application/json", schema: GrantList } },
    problems: [],
    handle: async ({ query }) => {
      const limit = query.limit ?? LIMITS.approvalsPerPage.default;
      const place = query.cursor === undefined ? undefined : fromCursor(query.cursor);
      const found = await listGrants(deps.store.database, {
        scope: query.scope,
        sessionId: query.sessionId,
        tool: query.tool,
        revoked: query.revoked === "true",
        after: place && { createdAt: place.at, id: place.id },
        limit: limit + 1,
      });
      const grants = found.slice(0, limit);
      const last = grants.at(-1);
      const next = found.length > limit && last ? toCursor({ at: last.createdAt, id: last.id }) : null;
      return { status: 200, body: { grants, next } };
    },
  });
}

function revokeOperation(deps: Dependencies): Operation {
  return operation({
    method: "delete",
    path: "/v1/grants/{grantId}",
    id: "revokeGrant",
    summary: "Revoke a remembered decision",
    description: "Calls that it decided stay as they are; from now on it decides none. Again it is answered the same.",
    params: z.strictObject({ grantId: GrantId }),
    answers: { 204: { description: "It counts no more." } },
    problems: ["NOT_FOUND"],
    handle: async ({ params }) => {
      const wasThere = await revokeGrant(deps.store.database, params.grantId);
      if (!wasThere)
        throw new ProblemError("NOT_FOUND", `there is no grant ${params.grantId}; GET /v1/grants lists them`);
      return { status: 204 };
    },
  });
}
