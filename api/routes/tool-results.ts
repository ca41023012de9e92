/** The result of a tool that the session's caller runs. */
import { PostToolResult, ToolResultTaken } from "../../contract/waits.ts";
import { giveToolResult } from "../../store/answers.ts";
import { getSession } from "../../store/sessions.ts";
import type { Dependencies } from "../dependencies.ts";
import { IdempotencyHeaders, idempotencyKey } from "../idempotency.ts";
import { type Operation, operation } from "../operation.ts";
import { CallParams } from "../parameters.ts";

export function toolResultOperations(deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "post",
      path: "/v1/sessions/{sessionId}/tool-results/{callId}",
      id: "submitToolResult",
      summary: "Give the result of a tool that you run",
      description:
        "Any JSON; a text is shown to the model as it is, all else as JSON, and what is too long is cut. The first result stands. " +
        "The same `Idempotency-Key` is the same result.",
      headers: IdempotencyHeaders,
      params: CallParams,
      body: PostToolResult,
      answers: { 200: { description: "It is taken.", contentType: "application/json", schema: ToolResultTaken } },
      problems: ["SESSION_NOT_FOUND", "NOT_FOUND", "ALREADY_DECIDED"],
      handle: async ({ params, body, request }) => {
        const { database } = deps.store;
        const key = idempotencyKey(request);
        await getSession(database, params.sessionId);
        return await deps.decisions.decided(params.callId, giveToolResult(database, { ...params, body, key }));
      },
    }),
  ];
}
