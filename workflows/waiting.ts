/**
 * What a turn waits for from outside: approvals, answers, results of tools that the caller runs.
 *
 * The store decides and remembers; this only sleeps until it is told, or until the deadline, when it asks the store to
 * decide by default. A turn may wait for days and be told of much meanwhile: then its waits are parked, carried to the next
 * run by their calls' ids and deadlines, and begun again there.
 */
import { condition } from "@temporalio/workflow";
import type { Progress, WaitEnded } from "../contract/session.ts";
import type { PlannedWait } from "../contract/steps.ts";
import type { WaitVerdict } from "../contract/waits.ts";
import type { SessionInput } from "./messages.ts";
import { commit } from "./proxies.ts";
import type { CallToRun } from "./session-state.ts";

interface Pending extends PlannedWait {
  readonly call: CallToRun;
  verdict: WaitVerdict | undefined;
  /** Its deadline is over, and the store is being asked. */
  isOver: boolean;
}

/** Calls that wait, and ends that nobody has used yet. */
export interface Parked {
  readonly calls: readonly CallToRun[];
  readonly ended: readonly WaitEnded[];
}

export class Waits {
  readonly #run: SessionInput;
  readonly #changed: () => void;
  readonly #pending = new Map<string, Pending>();
  /** Ends that came before the turn had heard of its wait: the step commits it, and answers a moment later. */
  readonly #early = new Map<string, WaitEnded>();
  #isParked = false;

  /** `changed` is called whenever something begins or ceases to wait. `ended`: what a run before was told and has not used. */
  constructor(of: { readonly run: SessionInput; readonly ended: readonly WaitEnded[] }, changed: () => void) {
    this.#run = of.run;
    this.#changed = changed;
    for (const ended of of.ended) this.#early.set(keyOf(ended), ended);
  }

  get list(): Progress["waits"] {
    return [...this.#pending.values()].map(({ kind, call: { callId, name }, deadline }) => ({
      kind,
      callId,
      name,
      deadline,
    }));
  }

  get isEmpty(): boolean {
    return this.#pending.size === 0;
  }

  /** So many wait, and none of them has come to its end. 0: one has. */
  get asleep(): number {
    const awake = [...this.#pending.values()].some(({ verdict, isOver }) => verdict !== undefined || isOver);
    return awake ? 0 : this.#pending.size;
  }

  /** Waits for one call. Throws only when it is cancelled. */
  async for(call: CallToRun, wait: PlannedWait): Promise<WaitVerdict> {
    const { kind, deadline } = wait;
    const { callId } = call;
    const key = keyOf({ callId, kind, deadline });
    const early = this.#early.get(key);
    if (early) {
      this.#changed(); // It was waited for in a run before.
      return early.verdict;
    }
    const pending: Pending = { kind, deadline, call, verdict: undefined, isOver: false };
    this.#pending.set(key, pending);
    this.#changed();
    try {
      const isTold = (): boolean => pending.verdict !== undefined && !this.#isParked;
      await condition(isTold, Math.max(1, deadline - Date.now()));
      if (this.#isParked) await never();
      if (pending.verdict) return pending.verdict;
      pending.isOver = true;
      // A decision may be committed by now that nobody could tell us of: the store knows which came first.
      const key = { sessionId: this.#run.sessionId, callId, kind };
      return await commit(this.#run, "expireWait", { summary: `deadline of ${call.name}`, of: key });
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
    else this.#early.set(key, ended);
  }

  /** At the end of each step, when nothing that came for it can be of use any more. */
  forget(): void {
    this.#early.clear();
  }

  /** From here on no wait ends in this run. What is told is carried. */
  park(): void {
    this.#isParked = true;
  }

  /** To be looked at when nothing more can be told in this run. */
  get parked(): Parked {
    const pending = [...this.#pending.values()];
    const told = pending.flatMap(({ call: { callId }, kind, deadline, verdict }) =>
      verdict === undefined ? [] : [{ callId, kind, deadline, verdict }],
    );
    return {
      calls: pending.map(({ call, kind, deadline }) => ({ ...call, wait: { kind, deadline } })),
      ended: [...this.#early.values(), ...told],
    };
  }
}

/** What waits for it goes on in another run. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}

/** With its deadline, because one call may wait twice for the same kind of thing. */
function keyOf(wait: Omit<WaitEnded, "verdict">): string {
  return `${wait.kind} ${wait.callId} ${wait.deadline}`;
}

/** The kinds of what is waited for, as the search attribute says them; empty when nothing is. */
export function kindsOf(waits: readonly Pick<WaitEnded, "kind">[]): string {
  return [...new Set(waits.map(({ kind }) => kind))].sort().join(",");
}
