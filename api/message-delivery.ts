/**
 * Delivery of committed messages to their workflows: one at a time per session and in the order of the rows, whoever asks.
 *
 * What asks is a POST, which waits a while, and the reconciler, which takes what no POST could deliver: because Temporal
 * or every worker was away, or because the API died in between. A repeat is harmless, the update's id is the message's.
 */
import { ProblemError } from "../contract/errors.ts";
import type { MessageId, SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SubmitMessage } from "../contract/session.ts";
import { markRefused, markSubmitted, undeliveredSessions } from "../store/messages.ts";
import { findSession } from "../store/sessions.ts";
import { pendingMessages } from "./pending-messages.ts";
import { Rounds, type Tried } from "./rounds.ts";
import { type Reach, reachWorkflow } from "./session-workflow.ts";
import { isKind } from "./sessions.ts";

/** taken: the workflow has it. refused: it never will. pending: it is committed, and goes on being tried. */
export type Delivery =
  | { readonly state: "taken"; readonly position: number; readonly turnId: TurnId }
  | { readonly state: "refused"; readonly message: string }
  | { readonly state: "pending" };

type Settle = (delivery: Delivery) => void;

/** What a call in flight is given to come back before the process goes on with its end. */
const STOP_MS = 1_000;

const PENDING: Delivery = { state: "pending" };

export class MessageDelivery implements AsyncDisposable {
  readonly #reach: Reach;
  readonly #onError: (error: unknown) => void;
  readonly #lines = new Map<SessionId, Promise<Tried>>();
  readonly #waiting = new Map<SessionId, Map<MessageId, Settle[]>>();
  readonly #rounds: Rounds<SessionId>;
  #stopped = false;

  constructor(reach: Reach, onError: (error: unknown) => void) {
    this.#reach = reach;
    this.#onError = onError;
    this.#rounds = new Rounds({
      after: (after, limit) =>
        undeliveredSessions(reach.database, { before: Date.now() - LIMITS.undeliveredAfterMs, after, limit }),
      nameOf: (sessionId) => sessionId,
      work: (sessionId) => this.#run(sessionId),
      onError,
    });
  }

  /** Delivers the session's messages up to this one. Answers within LIMITS.updateTimeoutMs, whatever happens. */
  deliver(sessionId: SessionId, messageId: MessageId): Promise<Delivery> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(PENDING), LIMITS.updateTimeoutMs);
      const settle: Settle = (delivery) => {
        clearTimeout(timer);
        resolve(delivery);
      };
      const ofSession = this.#waiting.get(sessionId) ?? new Map<MessageId, Settle[]>();
      this.#waiting.set(sessionId, ofSession);
      ofSession.set(messageId, [...(ofSession.get(messageId) ?? []), settle]);
      void this.#run(sessionId);
    });
  }

  /** Begins to look for messages that nobody delivers. */
  startReconciler(): void {
    this.#rounds.start(LIMITS.reconcileEveryMs);
  }

  /** Stops trying. What is not delivered is a row, and the next process finds it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    for (const sessionId of [...this.#waiting.keys()]) this.#settleAll(sessionId);
    await Promise.race([
      Promise.allSettled([...this.#lines.values(), this.#rounds[Symbol.asyncDispose]()]),
      new Promise((resolve) => setTimeout(resolve, STOP_MS).unref()),
    ]);
  }

  /** Runs the session's line, unless it runs: then it will see the new row by itself. */
  #run(sessionId: SessionId): Promise<Tried> {
    const running = this.#lines.get(sessionId);
    if (running !== undefined) return running;
    const line = this.#deliverAll(sessionId)
      .catch((error: unknown) => {
        this.#onError(error);
        return "failed" as const;
      })
      .then((tried) => {
        this.#lines.delete(sessionId);
        if (tried !== "done") this.#settleAll(sessionId);
        // One that asked while the line was ending.
        else if (this.#waiting.has(sessionId)) void this.#run(sessionId);
        return tried;
      });
    this.#lines.set(sessionId, line);
    return line;
  }

  /** Done when there was nothing left to deliver. */
  async #deliverAll(sessionId: SessionId): Promise<Tried> {
    while (!this.#stopped) {
      const asked = [...(this.#waiting.get(sessionId)?.keys() ?? [])];
      const messages = await pendingMessages(this.#reach.database, sessionId);
      for (const message of messages) {
        const { isAway, ...delivery } = await this.#submit(sessionId, message);
        this.#settle(sessionId, message.messageId, delivery);
        // The ones behind it must not overtake it.
        if (delivery.state === "pending" || this.#stopped) return isAway ? "away" : "failed";
      }
      // Somebody else delivered these meanwhile: their rows were not there any more.
      const found = new Set(messages.map((message) => message.messageId));
      for (const messageId of asked) if (!found.has(messageId)) this.#settle(sessionId, messageId, PENDING);
      if (!this.#waiting.has(sessionId)) return "done";
    }
    return "away";
  }

  async #submit(sessionId: SessionId, message: SubmitMessage): Promise<Delivery & { readonly isAway?: boolean }> {
    const { database, sessions } = this.#reach;
    const session = await findSession(database, sessionId);
    if (!session) return PENDING;
    try {
      const taken = await reachWorkflow(this.#reach, session, () => sessions.submit(sessionId, message));
      await markSubmitted(database, sessionId, message.messageId);
      return { state: "taken", position: taken.position, turnId: taken.turnId };
    } catch (error) {
      if (isKind(error, "unreachable")) return { ...PENDING, isAway: true };
      if (isKind(error, "unanswered")) return PENDING;
      if (isKind(error, "refused") || error instanceof ProblemError) {
        await markRefused(database, { sessionId, messageId: message.messageId }, error.message);
        return { state: "refused", message: error.message };
      }
      this.#onError(error);
      return PENDING;
    }
  }

  #settle(sessionId: SessionId, messageId: MessageId, delivery: Delivery): void {
    const ofSession = this.#waiting.get(sessionId);
    for (const settle of ofSession?.get(messageId) ?? []) settle(delivery);
    ofSession?.delete(messageId);
    if (ofSession?.size === 0) this.#waiting.delete(sessionId);
  }

  #settleAll(sessionId: SessionId): void {
    for (const messageId of [...(this.#waiting.get(sessionId)?.keys() ?? [])])
      this.#settle(sessionId, messageId, PENDING);
  }
}
