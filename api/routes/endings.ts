/** Stopping a turn, closing a session, deleting one. */
import { z } from "zod";
import { ProblemError } from "../../contract/errors.ts";
import { CloseAnswer, InterruptAnswer, InterruptRequest } from "../../contract/http.ts";
import type { TurnId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Session } from "../../contract/session.ts";
import { findPlace } from "../../store/session-places.ts";
import { findSession, getSession } from "../../store/sessions.ts";
import { askSessionEnd, askTurnStop, isWaiting, markSessionEndTold, markTurnStopTold } from "../../store/stops.ts";
import { isTurnRunning } from "../../store/turns.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";
import { SessionParams } from "../parameters.ts";
import { reachWorkflow } from "../session-workflow.ts";

const JSON_TYPE = "application/json";
/** While a session closes its row is looked at so often, for another process may have deleted it meanwhile. */
const CLOSE_LOOK_MS = 250;

export function endingOperations(deps: Dependencies): readonly Operation[] {
  return [interruptOperation(deps), closeOperation(deps), deleteOperation(deps)];
}

function interruptOperation(deps: Dependencies): Operation {
  return operation({
    method: "post",
    path: "/v1/sessions/{sessionId}/interrupt",
    id: "interruptSession",
    summary: "Stop what runs",
    description: "The turn ends as `turn.interrupted`; messages that wait go on. With nothing running it does nothing.",
    params: SessionParams,
    body: InterruptRequest.prefault({}),
    answers: { 202: { description: "It will stop, if it runs.", contentType: JSON_TYPE, schema: InterruptAnswer } },
    problems: ["SESSION_NOT_FOUND", "SESSION_CLOSED", "UNAVAILABLE"],
    handle: async ({ params, body }) => {
      const session = await getSession(deps.store.database, params.sessionId);
      if (session.closedAt !== null)
        throw new ProblemError("SESSION_CLOSED", `session ${session.id} is closed; nothing runs in it`);
      const { turnId } = body;
      await interrupt(deps, session, turnId);
      const interrupted =
        turnId === undefined ? session.status !== "idle" : await isTurnRunning(deps.store.database, session.id, turnId);
      const nothing = `${turnId === undefined ? "nothing ran" : `turn ${turnId} does not run`}, so nothing was stopped`;
      const message = interrupted ? "what runs is being stopped; turn.interrupted says when" : nothing;
      return { status: 202, body: { interrupted, message } };
    },
  });
}

function closeOperation(deps: Dependencies): Operation {
  return operation({
    method: "post",
    path: "/v1/sessions/{sessionId}/close",
    id: "closeSession",
    summary: "Close a session",
    description:
      "What runs is stopped, what waits is refused, the sandbox is removed. The log, the transcript and the artifacts stay.",
    params: SessionParams,
    body: z.strictObject({}).prefault({}),
    answers: {
      202: {
        description: "It will be closed; `session.closed` says when.",
        contentType: JSON_TYPE,
        schema: CloseAnswer,
      },
      200: { description: "It was closed before.", contentType: JSON_TYPE, schema: CloseAnswer },
    },
    problems: ["SESSION_NOT_FOUND", "UNAVAILABLE"],
    handle: async ({ params }) => {
      const session = await getSession(deps.store.database, params.sessionId);
      if (session.closedAt !== null) return { status: 200, body: { closed: true, message: "the session is closed" } };
      await close(deps, session, "close");
      return { status: 202, body: { closed: false, message: "the session is being closed; session.closed says when" } };
    },
  });
}

function deleteOperation(deps: Dependencies): Operation {
  return operation({
    method: "delete",
    path: "/v1/sessions/{sessionId}",
    id: "deleteSession",
    summary: "Close a session and delete all that is kept of it",
    params: SessionParams,
    answers: { 204: { description: "It is gone." } },
    problems: ["SESSION_NOT_FOUND", "UNAVAILABLE"],
    handle: async ({ params }) => {
      const { database } = deps.store;
      // Of all sessions that get this id one after another, only the one that has it now.
      const incarnation = (await findPlace(database, params.sessionId))?.incarnation;
      const session = await getSession(database, params.sessionId);
      if (session.closedAt === null) await closeFully(deps, session, incarnation);
      else await askSessionEnd(database, { sessionId: session.id, incarnation }, "delete");
      await deps.sessions.purge(session.id, incarnation);
      return { status: 204 };
    },
  });
}

async function closeFully(deps: Dependencies, session: Session, incarnation?: string): Promise<void> {
  using log = deps.tail.open(session.id);
  await close(deps, session, "delete", incarnation);
  const deadline = AbortSignal.timeout(LIMITS.closeWaitMs);
  for (;;) {
    const now = await findSession(deps.store.database, session.id);
    const isGone = (await findPlace(deps.store.database, session.id))?.incarnation !== incarnation;
    if (!now || isGone) return;
    if (deadline.aborted) {
      throw new ProblemError(
        "UNAVAILABLE",
        `session ${session.id} did not close within ${LIMITS.closeWaitMs} ms; is a worker running? try again`,
      );
    }
    // Until the tail has `session.closed` too: its readers must hear of it before the log is gone.
    const soon = AbortSignal.any([deadline, AbortSignal.timeout(CLOSE_LOOK_MS)]);
    await log.changed(now.closedAt === null ? now.lastSeq : now.lastSeq - 1, soon);
    if (now.closedAt !== null) return;
  }
}

/** Asks the workflow to close. One that turns out to have ended leaves a row that is closed by now, which is what was wanted. */
async function close(
  deps: Dependencies,
  session: Session,
  ending: "close" | "delete",
  incarnation?: string,
): Promise<void> {
  const { database } = deps.store;
  const of = { sessionId: session.id, incarnation };
  if ((await askSessionEnd(database, of, ending)) !== "asked") return;
  try {
    await reach(deps, session, () => deps.sessions.close(session.id, incarnation));
    await markSessionEndTold(database, of);
  } catch (error) {
    if (!(error instanceof ProblemError && error.code === "SESSION_CLOSED")) throw error;
  }
}

/** Each signal is a part of the workflow's history, which is bounded: nobody is told where nothing runs, or twice of one turn. */
async function interrupt(deps: Dependencies, session: Session, turnId: TurnId | undefined): Promise<void> {
  if (session.status === "idle") return;
  const { database } = deps.store;
  const stop = await askTurnStop(database, session.id, turnId);
  if (stop.asked === "told") return;
  // One that is about to begin: its message waits, and no row can note the stop yet.
  if (stop.turnId === undefined) {
    if (turnId !== undefined && !(await isWaiting(database, session.id, turnId))) return;
    const request = turnId === undefined ? {} : { turnId };
    const tell = (): Promise<void> => reach(deps, session, () => deps.sessions.interrupt(session.id, request));
    return await deps.stops.run(`${session.id} ${turnId ?? ""}`, tell);
  }
  await reach(deps, session, () => deps.sessions.interrupt(session.id, { turnId: stop.turnId }));
  await markTurnStopTold(database, stop.turnId);
}

function reach<T>(deps: Dependencies, session: Session, call: () => Promise<T>): Promise<T> {
  return reachWorkflow({ database: deps.store.database, sessions: deps.sessions }, session, call);
}
