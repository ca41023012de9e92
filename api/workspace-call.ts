/** What the routes of a live workspace share: the session must be open, and what a worker refused becomes a problem. */
import { ProblemError } from "../contract/errors.ts";
import type { SessionId } from "../contract/ids.ts";
import type { Session } from "../contract/session.ts";
import type { WorkspaceAnswer, WorkspaceRequest } from "../contract/workspace.ts";
import { getSession } from "../store/sessions.ts";
import type { Dependencies } from "./dependencies.ts";
import type { RequestKey } from "./sessions.ts";

type Found = WorkspaceAnswer["found"];
export type AnswerOf<F extends Found> = Extract<WorkspaceAnswer, { readonly found: F }>;

/** The session, when it is open. Throws SESSION_NOT_FOUND and SESSION_CLOSED. */
export async function openSession(deps: Dependencies, sessionId: SessionId): Promise<Session> {
  const session = await getSession(deps.store.database, sessionId);
  if (session.closedAt !== null) {
    throw new ProblemError(
      "SESSION_CLOSED",
      `session ${sessionId} is closed and its workspace is gone; its artifacts are still there`,
    );
  }
  return session;
}

/** Asks a worker, and takes one of the answers that are expected. The same `key` again is the same request, or a CONFLICT. */
export async function askWorkspace<F extends Found>(
  deps: Dependencies,
  request: WorkspaceRequest,
  expected: readonly F[],
  key?: RequestKey,
): Promise<AnswerOf<F>> {
  const answer = await deps.sessions.workspace(request, key);
  if (answer.found === "nothing") throw new ProblemError(answer.code, answer.message);
  if (!isOneOf(answer, expected)) throw new Error(`${request.operation} was answered with ${answer.found}`);
  return answer;
}

function isOneOf<F extends Found>(answer: WorkspaceAnswer, expected: readonly F[]): answer is AnswerOf<F> {
  return (expected as readonly Found[]).includes(answer.found);
}
