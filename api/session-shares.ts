/** How much of one kind of work a session may have going on through this process; what is more waits for its turn, alone. */
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { SessionsError } from "./sessions.ts";

export interface ShareBounds {
  readonly atOnce: number;
  readonly waiting: number;
  readonly waitMs: number;
}

interface Share {
  running: number;
  readonly waiting: (() => void)[];
}

export class SessionShares {
  readonly #bounds: ShareBounds;
  readonly #shares = new Map<SessionId, Share>();

  constructor(bounds: ShareBounds = LIMITS.workspaceShare) {
    this.#bounds = bounds;
  }

  /** Throws SessionsError `unanswered` when too many wait, or when its turn does not come in time; nothing was done then. */
  async run<T>(sessionId: SessionId, work: () => Promise<T>): Promise<T> {
    const share = this.#shares.get(sessionId) ?? { running: 0, waiting: [] };
    this.#shares.set(sessionId, share);
    try {
      await this.#turn(share);
      try {
        return await work();
      } finally {
        const next = share.waiting.shift();
        if (next) next();
        else share.running--;
      }
    } finally {
      if (share.running === 0 && share.waiting.length === 0) this.#shares.delete(sessionId);
    }
  }

  async #turn(share: Share): Promise<void> {
    const { atOnce, waiting, waitMs } = this.#bounds;
    if (share.running < atOnce) {
      share.running++;
      return;
    }
    const busy = `the session has ${atOnce} requests of this kind at work, its share`;
    if (share.waiting.length >= waiting) {
      throw new SessionsError("unanswered", `${busy}, and ${waiting} that wait; try again when some have ended`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    share.waiting.push(resolve);
    const timer = setTimeout(() => {
      const place = share.waiting.indexOf(resolve);
      if (place < 0) return; // Its turn has come in this moment.
      share.waiting.splice(place, 1);
      reject(new SessionsError("unanswered", `${busy}, and none has ended within ${waitMs / 1000} s; try again later`));
    }, waitMs);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
