/**
 * Having idle sandboxes stopped that callers have made or woken: their sessions, which sleep, do not know of them. A session
 * that uses its sandbox in turns looks after it itself, and is first.
 */
import { LIMITS } from "../contract/limits.ts";
import { type IdleSandbox, idleSandboxes } from "../store/sandboxes.ts";
import { Rounds, type Tried } from "./rounds.ts";
import type { Reach } from "./session-workflow.ts";
import { isKind } from "./sessions.ts";

export class IdleWatch implements AsyncDisposable {
  readonly #reach: Reach;
  readonly #rounds: Rounds<IdleSandbox>;

  constructor(reach: Reach, onError: (error: unknown) => void) {
    this.#reach = reach;
    this.#rounds = new Rounds({
      after: (after, limit) => idleAfter(reach, after, limit),
      nameOf: ({ record }) => record.sandboxId,
      work: (idle) => this.#stop(idle),
      // One that cannot be stopped, such as on a host that is gone, is not told of with each look.
      againMs: LIMITS.sweepEveryMs,
      onError,
    });
  }

  start(): void {
    this.#rounds.start(LIMITS.idleLookMs);
  }

  /** One look, and what comes of it. */
  async look(): Promise<void> {
    await this.#rounds.look();
    await this.#rounds.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#rounds[Symbol.asyncDispose]();
  }

  async #stop({ sessionId, idleMs }: IdleSandbox): Promise<Tried> {
    try {
      await this.#reach.sessions.stopIdle({ sessionId, idleMs });
      return "done";
    } catch (error) {
      if (isKind(error, "unreachable")) return "away";
      if (!isKind(error, "unanswered")) throw error;
      return "failed";
    }
  }
}

/** How long each has idled is counted for all of them at once. */
async function idleAfter({ database }: Reach, after: string, limit: number): Promise<readonly IdleSandbox[]> {
  const idle = (await idleSandboxes(database)).filter(({ record }) => record.sandboxId > after);
  return idle.toSorted((a, b) => (a.record.sandboxId < b.record.sandboxId ? -1 : 1)).slice(0, limit);
}
