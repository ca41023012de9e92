/** A person's answer to a question that an agent has asked. */
import { AnswerQuestion, AnswerTaken } from "../../contract/waits.ts";
import { answerQuestion } from "../../store/answers.ts";
import { getSession } from "../../store/sessions.ts";
import type { Dependencies } from "../dependencies.ts";
import { IdempotencyHeaders, idempotencyKey } from "../idempotency.ts";
import { type Operation, operation } from "../operation.ts";
import { CallParams } from "../parameters.ts";

export function answerOperations(deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "post",
      path: "/v1/sessions/{sessionId}/answers/{callId}",
      id: "answerQuestion",
      summary: "Answer a question of the agent",
      description:
        "A text, or the index of a choice. A text that is one of the choices counts as that choice; another one is only taken " +
        "when the question allows it. The first answer stands. The same `Idempotency-Key` is the same answer.",
      headers: IdempotencyHeaders,
      params: CallParams,
      body: AnswerQuestion,
      answers: { 200: { description: "It is answered.", contentType: "application/json", schema: AnswerTaken } },
      problems: ["SESSION_NOT_FOUND", "NOT_FOUND", "ALREADY_DECIDED"],
      handle: async ({ params, body, request }) => {
        const { database } = deps.store;
        const key = idempotencyKey(request);
        await getSession(database, params.sessionId);
        return await deps.decisions.decided(params.callId, answerQuestion(database, { ...params, body, key }));
      },
    }),
  ];
}
