/**
 * Snapshots of one session that callers have asked for, one after another. One that waits keeps what is there when it begins, so
 * whoever comes meanwhile need not wait, too: however many commands end, a session takes two slots of those for snapshots.
 */
import type { SessionId } from "../contract/ids.ts";

interface Running {
  readonly over: Promise<void>;
  hasNext: boolean;
}

export class SnapshotTurns {
  readonly #running = new Map<SessionId, Running>();

  /** Does the work, or leaves it to one that waits and has not begun. Throws the signal's reason when that comes first. */
  async run(sessionId: SessionId, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const before = this.#running.get(sessionId);
    if (before?.hasNext) return;
    if (before) {
      before.hasNext = true;
      try {
        await orAborted(before.over, signal);
      } finally {
        before.hasNext = false;
      }
      // Somebody who has come in this moment is as good: it begins after this one was asked for.
      return await this.run(sessionId, signal, work);
    }
    const { promise: over, resolve } = Promise.withResolvers<void>();
    this.#running.set(sessionId, { over, hasNext: false });
    try {
      await work();
    } finally {
      this.#running.delete(sessionId);
      resolve();
    }
  }
}

async function orAborted(over: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([over, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
