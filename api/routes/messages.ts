/** Messages to an agent: accepted at once, or answered when their turn has ended. */
import type { Response } from "express";
import { z } from "zod";
import {
  MessageAccepted,
  MessageAnswered,
  MessageList,
  PostMessage,
  QueuedMessage,
  type Turn,
} from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Session } from "../../contract/session.ts";
import { listMessages, removeMessage } from "../../store/messages.ts";
import { getSession } from "../../store/sessions.ts";
import type { Dependencies } from "../dependencies.ts";
import { finishedTurn, turnOver } from "../finished-turn.ts";
import { IdempotencyHeaders, idempotencyKey, messageIdFor } from "../idempotency.ts";
import { parseDuration } from "../input.ts";
import { acceptMessage } from "../message-acceptance.ts";
import { type Operation, operation } from "../operation.ts";
import { integerParameter, MessageParams, SessionParams } from "../parameters.ts";

const WAIT_RULE = `expected a duration such as 500ms, 30s or 2m, at most ${LIMITS.waitMs.max / 60_000}m`;

const PostQuery = z.strictObject({
  wait: z
    .string()
    .refine((text) => (parseDuration(text) ?? Number.POSITIVE_INFINITY) <= LIMITS.waitMs.max, WAIT_RULE)
    .optional()
    .meta({ description: "Answer when the turn has ended, or after this long: `500ms`, `30s`, `2m`." }),
});

export function messageOperations(deps: Dependencies): readonly Operation[] {
  return [postOperation(deps), listOperation(deps), deleteOperation(deps)];
}

function postOperation(deps: Dependencies): Operation {
  return operation({
    method: "post",
    path: "/v1/sessions/{sessionId}/messages",
    id: "postMessage",
    summary: "Send a message to the agent",
    description:
      "The message is committed before the answer. The same `id`, or the same `Idempotency-Key`, is the same message.",
    headers: IdempotencyHeaders,
    params: SessionParams,
    query: PostQuery,
    body: PostMessage,
    answers: {
      202: { description: "It was accepted.", contentType: "application/json", schema: MessageAccepted },
      200: {
        description: "It was accepted, and its turn ended within `wait`.",
        contentType: "application/json",
        schema: MessageAnswered,
      },
    },
    problems: ["SESSION_NOT_FOUND", "SESSION_CLOSED", "CONFLICT", "QUEUE_FULL"],
    handle: async ({ params, query, body, request, response }) => {
      const key = idempotencyKey(request);
      // Before the message is there, so that the end of its turn lies behind this point of the log.
      const session = await getSession(deps.store.database, params.sessionId);
      const waitMs = query.wait === undefined ? 0 : (parseDuration(query.wait) ?? 0);
      const deadline = AbortSignal.timeout(waitMs);
      const id = body.id ?? messageIdFor(session.id, key);
      const accepted = await acceptMessage(deps, { session, id, mode: body.mode, content: body.content });
      const turn = waitMs === 0 ? undefined : await awaited(deps, { session, accepted, deadline, response });
      return turn ? { status: 200, body: { ...accepted, turn } } : { status: 202, body: accepted };
    },
  });
}

const ListQuery = z.strictObject({
  state: QueuedMessage.shape.state
    .optional()
    .meta({ description: "`waiting`: the queue, and what is to join the turn." }),
  limit: integerParameter({ min: 1, max: LIMITS.messagesPerPage.max }, "a page size").optional(),
  cursor: z
    .string()
    .regex(/^\d{1,15}$/, "expected `next` of the page before")
    .optional(),
});

function listOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sessions/{sessionId}/messages",
    id: "listMessages",
    summary: "The session's messages and what became of them, in the order of their arrival",
    params: SessionParams,
    query: ListQuery,
    answers: { 200: { description: "A page of messages.", contentType: "application/json", schema: MessageList } },
    problems: ["SESSION_NOT_FOUND"],
    handle: async ({ params, query }) => {
      const { database } = deps.store;
      await getSession(database, params.sessionId);
      const limit = query.limit ?? LIMITS.messagesPerPage.default;
      const after = Number(query.cursor ?? 0);
      const { rows, hasMore } = await listMessages(database, params.sessionId, { after, limit, state: query.state });
      const next = hasMore ? String(rows.at(-1)?.position ?? 0) : null;
      return { status: 200, body: { messages: rows.map(({ message }) => message), next } };
    },
  });
}

function deleteOperation(deps: Dependencies): Operation {
  return operation({
    method: "delete",
    path: "/v1/sessions/{sessionId}/messages/{messageId}",
    id: "deleteMessage",
    summary: "Take a message back that has not begun",
    description: "`message.removed` says that it is out of the queue. Again: nothing more happens.",
    params: MessageParams,
    answers: { 204: { description: "It will not be answered." } },
    problems: ["SESSION_NOT_FOUND", "NOT_FOUND", "CONFLICT"],
    handle: async ({ params }) => {
      const { database } = deps.store;
      const session = await getSession(database, params.sessionId);
      const isNew = await removeMessage(database, session.id, params.messageId);
      deps.tail.poke();
      // What the workflow is not told of it finds out by itself, when the message's turn would begin. A repeat costs it nothing.
      if (isNew && session.closedAt === null) {
        await deps.sessions.removeMessage(session.id, params.messageId).catch((error: unknown) => {
          deps.logger.debug({ sessionId: session.id, err: error }, "a workflow was not told of a removed message");
        });
      }
      return { status: 204 };
    },
  });
}

async function awaited(
  deps: Dependencies,
  of: {
    readonly session: Session;
    readonly accepted: MessageAccepted;
    readonly deadline: AbortSignal;
    readonly response: Response;
  },
): Promise<Turn | undefined> {
  const { session, accepted } = of;
  const find = (): Promise<Turn | undefined> => finishedTurn(deps.store.database, session.id, accepted.turnId);
  const before = await find();
  if (before) return before;
  const left = new AbortController();
  of.response.once("close", () => left.abort());
  const signal = AbortSignal.any([of.deadline, left.signal, deps.streams.draining]);
  await turnOver(deps.tail, { sessionId: session.id, ...accepted, after: session.lastSeq }, signal);
  return await find();
}
