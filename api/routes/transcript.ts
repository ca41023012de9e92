/** The transcript: what the model has been shown, without what only its provider may see. */
import { z } from "zod";
import type { TranscriptMessage } from "../../contract/blocks.ts";
import { TranscriptPage } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import { getSession } from "../../store/sessions.ts";
import { messagesPage, type PlacedMessage } from "../../store/transcript.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";
import { integerParameter, SessionParams } from "../parameters.ts";

const TranscriptQuery = z.strictObject({
  after: integerParameter({ min: 0, max: Number.MAX_SAFE_INTEGER }, "the position of a message").optional(),
  limit: integerParameter({ min: 1, max: LIMITS.eventsPerPage.max }, "a page size").optional(),
});

export function transcriptOperations(deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "get",
      path: "/v1/sessions/{sessionId}/transcript",
      id: "getTranscript",
      summary: "Read the transcript",
      description:
        "Messages by position. `next` is null at the end; a running tool's result has its place kept, and the page ends before it.",
      params: SessionParams,
      query: TranscriptQuery,
      answers: { 200: { description: "A page of messages.", contentType: "application/json", schema: TranscriptPage } },
      problems: ["SESSION_NOT_FOUND"],
      handle: async ({ params, query }) => {
        const { database } = deps.store;
        await getSession(database, params.sessionId);
        const after = query.after ?? 0;
        const limit = query.limit ?? LIMITS.eventsPerPage.default;
        const { rows, hasMore } = await messagesPage(database, params.sessionId, { after, limit });
        const page = withoutGaps(rows, after);
        // Behind a gap there is nothing yet.
        const next = hasMore && page.length === rows.length ? (page.at(-1)?.position ?? null) : null;
        return { status: 200, body: { messages: page.map(shown), next } };
      },
    }),
  ];
}

/** Up to the first place that is kept for a result: a reader that went on behind it would never see that result. */
function withoutGaps(messages: readonly PlacedMessage[], after: number): readonly PlacedMessage[] {
  const gap = messages.findIndex(({ position }, index) => position !== after + 1 + index);
  return gap === -1 ? messages : messages.slice(0, gap);
}

function shown({ position, message }: PlacedMessage): TranscriptMessage & { position: number } {
  const blocks = message.blocks.map((block) =>
    block.type === "thinking" ? { type: block.type, text: block.text } : block,
  );
  return { position, ...message, blocks };
}
