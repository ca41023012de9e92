/**
 * Having idle sandboxes stopped that callers have made or woken: their sessions, which sleep, do not know of them. A session
 * that uses its sandbox in turns looks after it itself, and is first.
 */
import type { SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { idleSandboxes } from "../store/sandboxes.ts";
import { Reconciler } from "./reconciler.ts";
import type { Reach } from "./session-workflow.ts";
import { isKind } from "./sessions.ts";

export class IdleWatch implements AsyncDisposable {
  readonly #reach: Reach;
  readonly #reconciler: Reconciler;
  /** When somebody was last told of each: one that cannot be stopped, such as on a host that is gone, is not told of with each look. */
  readonly #told = new Map<SandboxId, number>();

  constructor(reach: Reach, onError: (error: unknown) => void) {
    this.#reach = reach;
    this.#reconciler = new Reconciler(() => this.look(), onError);
  }

  start(): void {
    this.#reconciler.start(LIMITS.idleLookMs);
  }

  /** One look; as many as the next one would find are left to it. */
  async look(): Promise<void> {
    const now = Date.now();
    const idle = await idleSandboxes(this.#reach.database);
    const found = new Set(idle.map(({ record }) => record.sandboxId));
    for (const id of this.#told.keys()) if (!found.has(id)) this.#told.delete(id);
    const due = idle.filter(({ record }) => now - (this.#told.get(record.sandboxId) ?? 0) > LIMITS.sweepEveryMs);
    for (const { sessionId, idleMs, record } of due.slice(0, LIMITS.reconcileSessionsAtOnce)) {
      try {
        await this.#reach.sessions.stopIdle({ sessionId, idleMs });
        this.#told.set(record.sandboxId, now);
      } catch (error) {
        if (!isKind(error, "unreachable", "unanswered")) throw error;
        return; // Temporal is away: the next look tries again.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#reconciler[Symbol.dispose]();
    await this.#reconciler.running;
  }
}
