/** The event log of a session: as a page, or as a stream that replays from any point and goes on live. */
import type { Request } from "express";
import { z } from "zod";
import { ProblemError } from "../../contract/errors.ts";
import { EventList } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Session } from "../../contract/session.ts";
import { eventJson, eventsPage } from "../../store/event-log.ts";
import { getSession } from "../../store/sessions.ts";
import type { Dependencies } from "../dependencies.ts";
import { replayEvents } from "../event-replay.ts";
import { STREAM_TYPE } from "../event-stream.ts";
import { invalidField, parseFrom } from "../input.ts";
import { type Operation, operation } from "../operation.ts";
import { integerParameter, SessionParams } from "../parameters.ts";

const after = integerParameter({ min: 0, max: Number.MAX_SAFE_INTEGER }, "the seq of an event");

const EventsQuery = z.strictObject({
  after: after.optional().meta({ description: "Only events behind this seq." }),
  limit: integerParameter({ min: 1, max: LIMITS.eventsPerPage.max }, "a page size").optional(),
  stream: z
    .enum(["0", "1"])
    .optional()
    .meta({ description: "`1` asks for the stream, as `Accept: text/event-stream` does." }),
});

const EventsHeaders = z.object({
  "last-event-id": after
    .optional()
    .meta({ description: "Of a stream that was cut: where it stopped. It wins over `after`." }),
});

export function eventOperations(deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "get",
      path: "/v1/sessions/{sessionId}/events",
      id: "getEvents",
      summary: "Read or stream the events of a session",
      description:
        "With `Accept: text/event-stream` a stream: frames `id: <seq>` and `data: <event>`, from any point, until `session.closed`; else a page.",
      headers: EventsHeaders,
      params: SessionParams,
      query: EventsQuery,
      answers: {
        200: {
          description: "A page of events, or the stream.",
          contentType: "application/json",
          schema: EventList,
          or: [{ description: "The stream.", contentType: STREAM_TYPE }],
        },
      },
      problems: ["SESSION_NOT_FOUND", "NOT_ACCEPTABLE", "TOO_MANY_STREAMS"],
      handle: async ({ params, query, request, response }) => {
        const isStream = wantsStream(request, query.stream);
        const lastEventId = request.get("last-event-id");
        const resumed = parseFrom(EventsHeaders, { "last-event-id": lastEventId || undefined }, "headers")[
          "last-event-id"
        ];
        const session = await getSession(deps.store.database, params.sessionId);
        const from = (isStream ? resumed : undefined) ?? query.after ?? 0;
        refuseBeyond(session, from, isStream && resumed !== undefined ? "/headers/last-event-id" : "/query/after");
        response.vary("accept");
        if (!isStream)
          return await page(deps, session, { after: from, limit: query.limit ?? LIMITS.eventsPerPage.default });
        if (request.method === "HEAD") {
          response.status(200).setHeader("Content-Type", STREAM_TYPE);
          response.end();
          return undefined;
        }
        const stream = deps.streams.open(request, response, "events");
        await replayEvents(deps, session.id, { stream, after: from, isClosed: session.closedAt !== null });
        return undefined;
      },
    }),
  ];
}

function wantsStream(request: Request, stream: "0" | "1" | undefined): boolean {
  if (stream !== undefined) return stream === "1";
  const accepted = request.accepts(["application/json", STREAM_TYPE]);
  if (accepted === false) {
    throw new ProblemError(
      "NOT_ACCEPTABLE",
      `expected Accept to allow application/json or ${STREAM_TYPE}; got ${request.get("accept")?.slice(0, 200)}`,
    );
  }
  return accepted === STREAM_TYPE;
}

/** A seq that no event has yet was never sent to anybody: a reader that waited for the one behind it would miss all before. */
function refuseBeyond(session: Session, seq: number, path: string): void {
  if (seq > session.lastSeq)
    throw invalidField(path, `expected at most ${session.lastSeq}, where the log ends; got ${seq}`);
}

/** The stored JSON, joined as text: nothing of it is parsed. */
async function page(deps: Dependencies, session: Session, range: { after: number; limit: number }) {
  const rows = await eventsPage(deps.store.database, session.id, range);
  const next = rows.at(-1)?.seq ?? range.after;
  return { status: 200, json: `{"events":[${rows.map(eventJson).join(",")}],"next":${next}}` };
}
