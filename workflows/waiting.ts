/**
 * What a turn waits for from outside: approvals, answers, results of tools that the caller runs.
 *
 * The store decides and remembers; this only sleeps until it is told, or until the deadline, when it asks the store to
 * decide by default. Nothing of it is carried by continue-as-new, which happens between steps, when nothing waits.
 */
import { condition } from "@temporalio/workflow";
import type { CallId, SessionId } from "../contract/ids.ts";
import type { Progress, WaitEnded } from "../contract/session.ts";
import type { PlannedWait } from "../contract/steps.ts";
import type { WaitVerdict } from "../contract/waits.ts";
import { local } from "./proxies.ts";

interface Pending extends PlannedWait {
  readonly callId: CallId;
  readonly name: string;
  verdict: WaitVerdict | undefined;
}

export class Waits {
  readonly #sessionId: SessionId;
  readonly #changed: () => void;
  readonly #pending = new Map<string, Pending>();
  /** Ends that came before the turn had heard of its wait: the step commits it, and answers a moment later. */
  readonly #early = new Map<string, WaitVerdict>();

  /** `changed` is called whenever something begins or ceases to wait. */
  constructor(sessionId: SessionId, changed: () => void) {
    this.#sessionId = sessionId;
    this.#changed = changed;
  }

  get list(): Progress["waits"] {
    return [...this.#pending.values()].map(({ kind, callId, name, deadline }) => ({ kind, callId, name, deadline }));
  }

  get isEmpty(): boolean {
    return this.#pending.size === 0;
  }

  /** Waits for one call. Throws only when it is cancelled. */
  async for(call: { readonly callId: CallId; readonly name: string }, wait: PlannedWait): Promise<WaitVerdict> {
    const { kind, deadline } = wait;
    const key = keyOf({ callId: call.callId, kind, deadline });
    const early = this.#early.get(key);
    if (early) return early;
    const pending: Pending = { kind, deadline, callId: call.callId, name: call.name, verdict: undefined };
    this.#pending.set(key, pending);
    this.#changed();
    try {
      await condition(() => pending.verdict !== undefined, Math.max(1, deadline - Date.now()));
      if (pending.verdict) return pending.verdict;
      // A decision may be committed by now that nobody could tell us of: the store knows which came first.
      const key = { sessionId: this.#sessionId, callId: call.callId, kind };
      return await local.expireWait.executeWithOptions({ summary: `deadline of ${call.name}` }, [key]);
    } finally {
      this.#pending.delete(key);
      this.#changed();
    }
  }

  /** Takes note of an end. One that is known, or of a wait that is over, changes nothing. */
  end(ended: WaitEnded): void {
    const key = keyOf(ended);
    const pending = this.#pending.get(key);
    if (pending) pending.verdict ??= ended.verdict;
    else this.#early.set(key, ended.verdict);
  }

  /** At the end of each step, when nothing that came for it can be of use any more. */
  forget(): void {
    this.#early.clear();
  }
}

/** With its deadline, because one call may wait twice for the same kind of thing. */
function keyOf(wait: { readonly callId: CallId; readonly kind: string; readonly deadline: number }): string {
  return `${wait.kind} ${wait.callId} ${wait.deadline}`;
}
