/** Reaching the workflow of a session whose row is open: its start may have been lost by a crash between the two. */
import { ProblemError } from "../contract/errors.ts";
import type { Session } from "../contract/session.ts";
import type { Database } from "../store/database.ts";
import { findSession } from "../store/sessions.ts";
import { isKind, type Sessions, SessionsError } from "./sessions.ts";

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

/** Ends the workflow, if it runs, and starts it anew: it begins from what the rows say is going on. */
export async function restartWorkflow(reach: Reach, session: Session): Promise<void> {
  await reach.sessions.abandon(session.id);
  await startWorkflow(reach, session);
}

/**
 * Calls the session's workflow. One that is not there, because it was never started, was terminated, or was lost with
 * Temporal's database, is started before: the rows are open, and it goes on from them.
 */
export async function reachWorkflow<T>(reach: Reach, session: Session, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!isKind(error, "missing")) throw error;
  }
  const now = await findSession(reach.database, session.id);
  if (!now || now.closedAt !== null) throw new ProblemError("SESSION_CLOSED", `session ${session.id} is closed`);
  await startWorkflow(reach, now);
  try {
    return await call();
  } catch (error) {
    if (!isKind(error, "missing")) throw error;
    throw new SessionsError("unanswered", `the workflow of session ${session.id} has ended again`, { cause: error });
  }
}
