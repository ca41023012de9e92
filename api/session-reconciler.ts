/**
 * Bringing workflows and rows together. Either database may be lost, or older than the other, after a power cut or a restore;
 * rows are the truth. Sessions that should be at work and whose rows do not move are asked for, each more seldom the longer it
 * agrees; a workflow that is missing, or that knows of something else, is begun anew and reads from the rows what is going on.
 */
import type { SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Progress, Session } from "../contract/session.ts";
import { mayRun, type OpenSession, type OpenWork, openSessions, openWork } from "../store/open-sessions.ts";
import { findSession } from "../store/sessions.ts";
import { markSessionEndTold, markTurnStopTold } from "../store/stops.ts";
import { livingWorkers } from "../store/workers.ts";
import { Rounds, type Tried } from "./rounds.ts";
import { type Reach, reachWorkflow, restartWorkflow, startWorkflow } from "./session-workflow.ts";
import { isKind } from "./sessions.ts";

export class SessionReconciler implements AsyncDisposable {
  readonly #reach: Reach;
  readonly #onError: (error: unknown) => void;
  readonly #rounds: Rounds<OpenSession>;
  /** Since it was last reached: what comes back may be another, or older. */
  #isAway = false;
  /** Sessions that did not agree when they were last looked at, with when their rows had moved last. */
  readonly #suspects = new Map<SessionId, number>();

  constructor(reach: Reach, onError: (error: unknown) => void) {
    this.#reach = reach;
    this.#onError = onError;
    this.#rounds = new Rounds({
      after: (name, limit) =>
        openSessions(reach.database, { quietSince: Date.now() - LIMITS.quietMs, after: idIn(name), limit }),
      // One whose rows have moved is another item, and is asked for soon.
      nameOf: ({ sessionId, updatedAt }) => `${sessionId} ${updatedAt}`,
      work: ({ sessionId }) => this.#look(sessionId),
      pauseMs: LIMITS.quietPauseMs,
      onError,
    });
  }

  start(): void {
    this.#rounds.start(LIMITS.reconcileEveryMs);
  }

  /** One beat, and what comes of it. */
  async look(): Promise<void> {
    await this.#rounds.look();
    await this.#rounds.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#rounds[Symbol.asyncDispose]();
  }

  /** Never `done`: what agrees is asked again, and each time later. */
  async #look(sessionId: SessionId): Promise<Tried> {
    try {
      const work = await openWork(this.#reach.database, sessionId);
      if (work) await this.#bringTogether(sessionId, work);
      if (this.#isAway) this.#rounds.again();
      this.#isAway = false;
      return "failed";
    } catch (error) {
      if (isKind(error, "unreachable")) {
        this.#isAway = true;
        return "away";
      }
      if (!isKind(error, "unanswered", "missing")) this.#onError(error);
      return "failed";
    }
  }

  async #bringTogether(sessionId: SessionId, work: OpenWork): Promise<void> {
    const { database, sessions } = this.#reach;
    const { ending, incarnation, turn } = work;
    if (work.isClosed) {
      if (ending === "delete") await sessions.purge(sessionId, incarnation);
      return;
    }
    const session = await findSession(database, sessionId);
    if (!session) return;
    if (ending !== undefined) {
      await reachWorkflow(this.#reach, session, () => sessions.close(sessionId, incarnation));
      await markSessionEndTold(database, { sessionId, incarnation });
      await this.#progress(session);
      return;
    }
    if (turn?.isStopping) await this.#stopTurn(session, turn.turnId);
    await this.#compare(session, work);
  }

  async #stopTurn(session: Session, turnId: TurnId): Promise<void> {
    await reachWorkflow(this.#reach, session, () => this.#reach.sessions.interrupt(session.id, { turnId }));
    await markTurnStopTold(this.#reach.database, turnId);
  }

  /** What the workflow says. Undefined: there is none. */
  async #progress(session: Session): Promise<Progress | "begun anew" | undefined> {
    try {
      return await this.#reach.sessions.progress(session.id);
    } catch (error) {
      if (isKind(error, "missing")) return undefined;
      // Whoever answers nothing in the time of a question has not been waiting for a worker that was just about to come.
      if (isKind(error, "unanswered", "failed") && (await this.#endStuck(session))) return "begun anew";
      throw error;
    }
  }

  /**
   * A workflow that cannot be replayed, or whose task was lost, is of no use, and gets none of what it is sent. Whatever has
   * brought that about (a bug of an SDK's, code that was changed), another one goes on from the rows. Without a worker all of
   * them wait, and rightly so.
   */
  async #endStuck(session: Session): Promise<boolean> {
    const { database, sessions } = this.#reach;
    const hasWorker = (await livingWorkers(database.read)).length > 0;
    if (!hasWorker || !(await sessions.isStuck(session.id))) return false;
    this.#onError(
      new Error(`the workflow of session ${session.id} could not go on; another one was begun from its rows`),
    );
    await restartWorkflow(this.#reach, session);
    return true;
  }

  /** A workflow is given up only when it disagrees at two looks, and nothing has moved in the rows from before the first. */
  async #compare(session: Session, work: OpenWork): Promise<void> {
    const { database } = this.#reach;
    const progress = await this.#progress(session);
    if (progress === "begun anew") return;
    if (!progress || progress.status === "closed") return await startWorkflow(this.#reach, session);
    const isOver = progress.turn !== null && !(await mayRun(database, { sessionId: session.id, ...progress.turn }));
    const now = await openWork(database, session.id);
    if (!now || now.updatedAt !== work.updatedAt || !(isOver || disagrees(now, progress))) {
      this.#suspects.delete(session.id);
      return;
    }
    if (this.#suspects.get(session.id) === work.updatedAt) {
      this.#suspects.delete(session.id);
      return await restartWorkflow(this.#reach, session);
    }
    if (this.#suspects.size >= LIMITS.suspectsMax) this.#suspects.clear();
    this.#suspects.set(session.id, work.updatedAt);
  }
}

/** Whether the workflow is at something else than the turn that runs, has lost messages, or waits for something else than its calls do. */
function disagrees(work: OpenWork, { turn, running, waits, queue, steering }: Progress): boolean {
  if (work.turn && turn?.turnId !== work.turn.turnId) return true;
  const known = new Set([...queue.map(({ messageId }) => messageId), ...steering]);
  if (work.submitted.some((id) => !known.has(id) && turn?.messageId !== id)) return true;
  if (!work.turn) return false; // A turn that no worker has begun yet.
  const waiting = new Set<string>(waits.map(({ callId }) => callId));
  const isDeaf = work.toldCalls.some((callId) => waiting.has(callId));
  return isDeaf || (running.length === 0 && work.pendingCalls.some((callId) => !waiting.has(callId)));
}

function idIn(name: string): string {
  return name.split(" ")[0] ?? "";
}
