/** Commands of the caller in a session's sandbox: run once, followed in the event log, and stopped. */
import type { Response } from "express";
import { z } from "zod";
import { Command, CommandList, CommandState, PostCommand } from "../../contract/commands.ts";
import { LIMITS } from "../../contract/limits.ts";
import { getCommand, listCommands, makeCommand, stopCommand } from "../../store/commands.ts";
import { findPlace } from "../../store/session-places.ts";
import { getSession } from "../../store/sessions.ts";
import type { Dependencies } from "../dependencies.ts";
import { awaitCommand } from "../finished-command.ts";
import { callIdFor, IdempotencyHeaders, idempotencyKey } from "../idempotency.ts";
import { parseDuration } from "../input.ts";
import { type Operation, operation } from "../operation.ts";
import { fromCursor, toCursor } from "../page-cursor.ts";
import { CallParams, integerParameter, SessionParams } from "../parameters.ts";

const JSON_TYPE = "application/json";
const WAIT_RULE = `expected a duration such as 500ms, 30s or 2m, at most ${LIMITS.waitMs.max / 60_000}m`;

export function commandOperations(deps: Dependencies): readonly Operation[] {
  return [postOperation(deps), listOperation(deps), getOperation(deps), stopOperation(deps)];
}

const PostQuery = z.strictObject({
  wait: z
    .string()
    .refine((text) => (parseDuration(text) ?? Number.POSITIVE_INFINITY) <= LIMITS.waitMs.max, WAIT_RULE)
    .optional()
    .meta({ description: "Answer when it has ended, or after this long: `500ms`, `30s`, `2m`." }),
});

function postOperation(deps: Dependencies): Operation {
  return operation({
    method: "post",
    path: "/v1/sessions/{sessionId}/commands",
    id: "runCommand",
    summary: "Run a command in the session's sandbox",
    description:
      "It is committed before the answer, and started once, whatever dies meanwhile; `command.started`, `command.output` and " +
      "`command.completed` tell of it. The agent's policy does not apply, and the agent is not told: whoever may call this API " +
      `is trusted. The same \`id\`, or the same \`Idempotency-Key\`, is the same command. A session runs ${LIMITS.commandsAtOnce} at ` +
      "once; the others stay `planned`, and begin in their order.",
    headers: IdempotencyHeaders,
    params: SessionParams,
    query: PostQuery,
    body: PostCommand,
    answers: {
      202: { description: "It was accepted.", contentType: JSON_TYPE, schema: Command },
      200: { description: "It has ended.", contentType: JSON_TYPE, schema: Command },
    },
    problems: ["SESSION_NOT_FOUND", "SESSION_CLOSED", "CONFLICT", "TOO_MANY_COMMANDS"],
    handle: async ({ params, query, body, request, response }) => {
      const key = idempotencyKey(request);
      const { database } = deps.store;
      // Before the command is there, so that its end lies behind this point of the log.
      const session = await getSession(database, params.sessionId);
      const waitMs = query.wait === undefined ? 0 : (parseDuration(query.wait) ?? 0);
      const deadline = AbortSignal.timeout(waitMs);
      const { id, ...wanted } = body;
      const incarnation = (await findPlace(database, session.id))?.incarnation ?? "";
      const ids = { sessionId: session.id, callId: id ?? callIdFor(session.id, incarnation, key) };
      const made = await makeCommand(database, ids, wanted);
      if (made.state === "planned") await deps.commands.deliver({ ...ids, isStopping: false });
      const command =
        waitMs === 0 ? made : await awaited(deps, { ...ids, after: session.lastSeq }, { deadline, response });
      return { status: command.state === "done" ? 200 : 202, body: command };
    },
  });
}

async function awaited(
  deps: Dependencies,
  of: Parameters<typeof awaitCommand>[1],
  until: { readonly deadline: AbortSignal; readonly response: Response },
): Promise<Command> {
  const left = new AbortController();
  until.response.once("close", () => left.abort());
  const signal = AbortSignal.any([until.deadline, left.signal, deps.streams.draining]);
  return await awaitCommand({ database: deps.store.database, tail: deps.tail }, of, signal);
}

const ListQuery = z.strictObject({
  state: CommandState.optional(),
  limit: integerParameter({ min: 1, max: LIMITS.commandsPerPage.max }, "a page size").optional(),
  cursor: z.string().max(200).optional().meta({ description: "`next` of the page before; with the same state." }),
});

function listOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sessions/{sessionId}/commands",
    id: "listCommands",
    summary: "List the commands of callers, newest first",
    params: SessionParams,
    query: ListQuery,
    answers: { 200: { description: "A page of commands.", contentType: JSON_TYPE, schema: CommandList } },
    problems: ["SESSION_NOT_FOUND"],
    handle: async ({ params, query }) => {
      const { database } = deps.store;
      const { id } = await getSession(database, params.sessionId);
      const limit = query.limit ?? LIMITS.commandsPerPage.default;
      const { rows: commands, hasMore } = await listCommands(database, id, {
        state: query.state,
        after: query.cursor === undefined ? undefined : fromCursor(query.cursor),
        limit,
      });
      const last = commands.at(-1);
      const next = hasMore && last ? toCursor({ at: last.madeAt, id: last.id }) : null;
      return { status: 200, body: { commands, next } };
    },
  });
}

function getOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sessions/{sessionId}/commands/{callId}",
    id: "getCommand",
    summary: "Get a command of a caller, and how it ended",
    params: CallParams,
    answers: { 200: { description: "As it is now.", contentType: JSON_TYPE, schema: Command } },
    problems: ["SESSION_NOT_FOUND", "NOT_FOUND"],
    handle: async ({ params }) => {
      await getSession(deps.store.database, params.sessionId);
      return { status: 200, body: await getCommand(deps.store.database, params) };
    },
  });
}

function stopOperation(deps: Dependencies): Operation {
  return operation({
    method: "delete",
    path: "/v1/sessions/{sessionId}/commands/{callId}",
    id: "stopCommand",
    summary: "End a command of a caller",
    description:
      "What it started is ended with it; `command.completed` says when. One that was not begun yet never will be. Again, or of " +
      "one that has ended: nothing more happens.",
    params: CallParams,
    answers: {
      202: { description: "It is being ended.", contentType: JSON_TYPE, schema: Command },
      200: { description: "It has ended.", contentType: JSON_TYPE, schema: Command },
    },
    problems: ["SESSION_NOT_FOUND", "NOT_FOUND"],
    handle: async ({ params }) => {
      const { database } = deps.store;
      const session = await getSession(database, params.sessionId);
      const command = await stopCommand(database, { sessionId: session.id, callId: params.callId });
      deps.tail.poke();
      if (command.state === "stopping") {
        await deps.commands.deliver({ sessionId: session.id, callId: command.id, isStopping: true });
      }
      return { status: command.state === "done" ? 200 : 202, body: command };
    },
  });
}
