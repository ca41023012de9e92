/**
 * Telling turns of decisions that are committed: at once by the request that decided, and by the reconciler when that
 * could not be done, because Temporal or every worker was away, or because the API died in between.
 *
 * Calls are told of side by side, the decisions on one call in their order. A repeat is harmless, here or in another process:
 * the update's id is the decision's, and the workflow goes by what the store says.
 */
import { ProblemError } from "../contract/errors.ts";
import type { CallId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { findSession } from "../store/sessions.ts";
import { isTurnRunning } from "../store/turns.ts";
import { markDelivered, type UndeliveredWait, undeliveredCalls, undeliveredWaits } from "../store/waits.ts";
import type { Reply } from "./operation.ts";
import { Rounds, type Tried } from "./rounds.ts";
import { type Reach, reachWorkflow } from "./session-workflow.ts";
import { isKind } from "./sessions.ts";

/** What calls in flight are given to come back before the process goes on with its end. */
const STOP_MS = 1_000;
/** Decisions on one call: an approval, then its tool's result. */
const DECISIONS_PER_CALL = 10;

export interface DeliveryEvents {
  /** There are new events of a decision. */
  readonly committed: () => void;
  readonly error: (error: unknown) => void;
}

export class WaitDelivery implements AsyncDisposable {
  readonly #reach: Reach;
  readonly #on: DeliveryEvents;
  readonly #lines = new Map<CallId, Promise<Tried>>();
  readonly #rounds: Rounds<CallId>;
  readonly #stop = new AbortController();

  constructor(reach: Reach, on: DeliveryEvents) {
    this.#reach = reach;
    this.#on = on;
    this.#rounds = new Rounds({
      after: (after, limit) => undeliveredCalls(reach.database, { after, limit }),
      nameOf: (callId) => callId,
      work: (callId) => this.#run(callId),
      onError: on.error,
    });
  }

  /** The answer to a request that decides: committed by then, and told to the turn as far as that goes at once. */
  async decided<T>(callId: CallId, deciding: Promise<T>): Promise<Reply & { readonly body: T }> {
    try {
      return { status: 200, body: await deciding };
    } finally {
      this.#on.committed();
      // Also when it was refused: a decision that came too late may have let the deadline decide.
      await this.deliver(callId);
    }
  }

  /** Tells the turn what was decided of this call. Comes back within LIMITS.decisionWaitMs, whether or not it was heard. */
  async deliver(callId: CallId): Promise<void> {
    const enough = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(LIMITS.decisionWaitMs)]);
    const late = new Promise<void>((resolve) => enough.addEventListener("abort", () => resolve(), { once: true }));
    // A line that runs may have looked before this decision was there.
    const running = this.#lines.get(callId);
    await Promise.race([running === undefined ? this.#run(callId) : running.then(() => this.#run(callId)), late]);
  }

  /** Begins to look for decisions that nobody tells of. */
  startReconciler(): void {
    this.#rounds.start(LIMITS.reconcileEveryMs);
  }

  /** Stops trying. What was not told is in the store, and the next process finds it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.race([
      Promise.allSettled([...this.#lines.values(), this.#rounds[Symbol.asyncDispose]()]),
      new Promise((resolve) => setTimeout(resolve, STOP_MS).unref()),
    ]);
  }

  #run(callId: CallId): Promise<Tried> {
    const running = this.#lines.get(callId);
    if (running !== undefined) return running;
    const line = this.#deliverAll(callId)
      .catch((error: unknown) => {
        this.#on.error(error);
        return "failed" as const;
      })
      .finally(() => this.#lines.delete(callId));
    this.#lines.set(callId, line);
    return line;
  }

  async #deliverAll(callId: CallId): Promise<Tried> {
    const waits = await undeliveredWaits(this.#reach.database, { callId, limit: DECISIONS_PER_CALL });
    for (const wait of waits) {
      if (this.#stop.signal.aborted) return "away";
      const told = await this.#tell(wait);
      if (told !== "done") return told;
      await markDelivered(this.#reach.database, wait);
    }
    return "done";
  }

  /** Done when the workflow has heard it, or never will. */
  async #tell(wait: UndeliveredWait): Promise<Tried> {
    const { sessionId, turnId: _turnId, ...ended } = wait;
    const { database, sessions } = this.#reach;
    const session = await findSession(database, sessionId);
    if (!session || session.closedAt !== null) return "done";
    try {
      await reachWorkflow(this.#reach, session, () => sessions.endWait(sessionId, ended));
      return "done";
    } catch (error) {
      if (error instanceof ProblemError) return "done"; // The workflow has ended.
      if (isKind(error, "unreachable")) return "away";
      if (isKind(error, "refused")) {
        return (await isTurnRunning(this.#reach.database, wait.sessionId, wait.turnId)) ? "failed" : "done";
      }
      if (!isKind(error, "unanswered")) this.#on.error(error);
      return "failed";
    }
  }
}
