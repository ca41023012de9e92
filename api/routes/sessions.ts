/** Sessions: made, listed, looked at. */
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import {
  CreateSession,
  SessionCreated,
  SessionDetail,
  SessionList,
  SessionUpdated,
  UpdateSession,
} from "../../contract/http.ts";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { type Progress, type Session, SessionStatus } from "../../contract/session.ts";
import { configureSession } from "../../store/configuration.ts";
import { createSession, findRequested, findSession, getSession, listSessions } from "../../store/sessions.ts";
import type { Dependencies } from "../dependencies.ts";
import { IdempotencyHeaders, idempotencyKey, messageIdFor, sessionIdFor } from "../idempotency.ts";
import { acceptMessage } from "../message-acceptance.ts";
import { type Operation, operation } from "../operation.ts";
import { fromCursor, toCursor } from "../page-cursor.ts";
import { integerParameter, SessionParams } from "../parameters.ts";
import { BACKEND_TABLE, requestHash, resolveChange, resolveSession } from "../session-configuration.ts";
import { startWorkflow } from "../session-workflow.ts";

const JSON_TYPE = "application/json";

export function sessionOperations(deps: Dependencies): readonly Operation[] {
  return [createOperation(deps), listOperation(deps), getOperation(deps), updateOperation(deps)];
}

function createOperation(deps: Dependencies): Operation {
  return operation({
    method: "post",
    path: "/v1/sessions",
    id: "createSession",
    summary: "Make a session",
    description:
      "The same `id`, or the same `Idempotency-Key`, finds the session that was made before. A stored agent is pinned: later versions of it change nothing here.",
    headers: IdempotencyHeaders,
    body: CreateSession.prefault({}),
    answers: {
      201: { description: "The session was made.", contentType: JSON_TYPE, schema: SessionCreated },
      200: { description: "It was made before.", contentType: JSON_TYPE, schema: SessionCreated },
    },
    problems: ["AGENT_NOT_FOUND", "CONFLICT", "SESSION_CLOSED", "QUEUE_FULL"],
    handle: async ({ body, request }) => {
      const key = idempotencyKey(request);
      const { session, created } = await findOrCreate(deps, body.id ?? sessionIdFor(key), body);
      deps.tail.poke();
      const first = firstMessage(body);
      await startSoon(deps, session);
      if (!first) return { status: created ? 201 : 200, body: session };
      // Without an id of its own the message's id follows from the session's, so that a repeated request repeats the message.
      const id = first.id ?? messageIdFor(session.id, key ?? (body.id === undefined ? undefined : "first"));
      const message = await acceptMessage(deps, { session, id, mode: first.mode, content: first.content });
      // As it is with its message: it has something to do now.
      const now = (await findSession(deps.store.database, session.id)) ?? session;
      return { status: created ? 201 : 200, body: { ...now, message } };
    },
  });
}

/** A repeat finds its session before anything is looked up: the agent may have changed since, or be gone. */
async function findOrCreate(deps: Dependencies, id: SessionId, body: CreateSession) {
  const { database } = deps.store;
  const hash = requestHash(body);
  const found = await findRequested(database, id, hash);
  if (found) return { session: found, created: false };
  const { title, metadata } = body;
  const resolved = await resolveSession(database, body);
  return await createSession(database, { id, ...resolved, title, metadata, requestHash: hash });
}

function firstMessage(body: CreateSession) {
  const { message } = body;
  if (message === undefined) return undefined;
  if (typeof message === "string" || Array.isArray(message))
    return { content: message, mode: "queue" as const, id: undefined };
  return message;
}

/**
 * Starts the workflow, and waits a moment for it. The session is there in any case: when Temporal is away or slow, the
 * start goes on by itself, and the first message starts what is not started then.
 */
async function startSoon(deps: Dependencies, session: Session): Promise<void> {
  if (session.closedAt !== null) return;
  const reach = { database: deps.store.database, sessions: deps.sessions };
  const starting = startWorkflow(reach, session).catch((error: unknown) => {
    deps.logger.warn({ sessionId: session.id, err: error }, "a session's workflow was not started yet");
  });
  const enough = new AbortController();
  const late = delay(LIMITS.startWaitMs, undefined, { signal: enough.signal }).catch(() => undefined);
  await Promise.race([starting, late]);
  enough.abort();
}

const ListQuery = z.strictObject({
  status: SessionStatus.optional(),
  agent: z.string().min(1).max(100).optional().meta({ description: "The agent's name, or a stored one's id." }),
  metadata: z
    .record(z.string().max(64), z.string().max(512))
    .optional()
    .meta({
      description: "`metadata.<key>=<value>`, any number of them: all must be there.",
      param: { style: "form", explode: true },
      override: {
        type: "object",
        propertyNames: { pattern: "^metadata\\." },
        additionalProperties: { type: "string" },
      },
    }),
  limit: integerParameter({ min: 1, max: LIMITS.sessionsPerPage.max }, "a page size").optional(),
  cursor: z.string().max(200).optional().meta({ description: "`next` of the page before." }),
});

function listOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sessions",
    id: "listSessions",
    summary: "List sessions, newest first",
    query: ListQuery,
    answers: { 200: { description: "A page of sessions.", contentType: JSON_TYPE, schema: SessionList } },
    problems: [],
    handle: async ({ query }) => {
      const limit = query.limit ?? LIMITS.sessionsPerPage.default;
      const place = query.cursor === undefined ? undefined : fromCursor(query.cursor);
      const { rows: sessions, hasMore } = await listSessions(deps.store.database, {
        status: query.status,
        agent: query.agent,
        metadata: query.metadata ?? {},
        after: place && { createdAt: place.at, id: place.id },
        limit,
      });
      const last = sessions.at(-1);
      const next = hasMore && last ? toCursor({ at: last.createdAt, id: last.id }) : null;
      return { status: 200, body: { sessions, next } };
    },
  });
}

function getOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sessions/{sessionId}",
    id: "getSession",
    summary: "Look at a session",
    params: SessionParams,
    answers: {
      200: { description: "The session, with its progress.", contentType: JSON_TYPE, schema: SessionDetail },
    },
    problems: ["SESSION_NOT_FOUND"],
    handle: async ({ params }) => {
      const session = await getSession(deps.store.database, params.sessionId);
      const progress = session.closedAt === null ? await progressOf(deps, session) : null;
      return { status: 200, body: { ...session, progress } };
    },
  });
}

function updateOperation(deps: Dependencies): Operation {
  return operation({
    method: "patch",
    path: "/v1/sessions/{sessionId}",
    id: "updateSession",
    summary: "Change a session",
    description:
      "What is given changes, and what is left out stays; `metadata` is replaced as a whole. Title and metadata change at once; how the agent runs changes at once while no turn runs, else when the turn ends. `session.updated` says when, and what of the conversation another backend cannot be shown.",
    params: SessionParams,
    body: UpdateSession,
    answers: { 200: { description: "The session as it is now.", contentType: JSON_TYPE, schema: SessionUpdated } },
    problems: ["AGENT_NOT_FOUND", "SESSION_NOT_FOUND", "SESSION_CLOSED"],
    handle: async ({ params, body }) => {
      const { database } = deps.store;
      const { title, metadata } = body;
      const configuration = await resolveChange(database, params.sessionId, body);
      const change = { configuration, backends: BACKEND_TABLE, title, metadata };
      const { session, applied } = await configureSession(database, params.sessionId, change);
      deps.tail.poke();
      return { status: 200, body: { ...session, applied } };
    },
  });
}

async function progressOf(deps: Dependencies, session: Session): Promise<Progress | null> {
  try {
    return await deps.sessions.progress(session.id);
  } catch (error) {
    deps.logger.debug({ sessionId: session.id, err: error }, "no progress to show");
    return null;
  }
}
