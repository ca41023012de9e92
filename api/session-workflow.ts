/** Reaching the workflow of a session whose row is open: its start may have been lost by a crash between the two. */
import { ProblemError } from "../contract/errors.ts";
import type { Session } from "../contract/session.ts";
import type { Database } from "../store/database.ts";
import { findPlace } from "../store/session-places.ts";
import { closeSession } from "../store/sessions.ts";
import { isKind, type Sessions } from "./sessions.ts";

const SUMMARY_CHARACTERS_MAX = 100;

export interface Reach {
  readonly database: Database;
  readonly sessions: Sessions;
}

/**
 * Starts the session's workflow; one that runs is left alone. Its summary is what the session was named by, never what a
 * person wrote to it: that may hold a secret, and Temporal's history keeps it.
 */
export async function startWorkflow(reach: Reach, session: Session): Promise<void> {
  await reach.sessions.start({
    sessionId: session.id,
    agent: session.agent,
    title: session.title,
    summary: (session.title ?? session.agent.name).slice(0, SUMMARY_CHARACTERS_MAX),
  });
}

/**
 * Calls the session's workflow, starting it first when it was never started.
 * When it ran and has ended although the row is open, somebody terminated it: nothing can ever take its messages, so the
 * row is closed, and clients hear it from the log.
 */
export async function reachWorkflow<T>(reach: Reach, session: Session, call: () => Promise<T>): Promise<T> {
  const incarnation = (await findPlace(reach.database, session.id))?.incarnation;
  try {
    return await call();
  } catch (error) {
    if (!isKind(error, "missing")) throw error;
  }
  try {
    await startWorkflow(reach, session);
    return await call();
  } catch (error) {
    if (!isKind(error, "missing")) throw error;
    await closeSession(reach.database, session.id, incarnation);
    throw new ProblemError("SESSION_CLOSED", `the workflow of session ${session.id} has ended; make a new session`, {
      cause: error,
    });
  }
}
