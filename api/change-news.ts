/**
 * Tells who keeps a workspace that it has changed: at once, and then once per `LIMITS.changeToldEveryMs` however many changes
 * there are. Each telling is a part of a workflow's history, which is bounded; callers may write files by the thousand.
 */
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";

interface Silence {
  readonly timer: NodeJS.Timeout;
  /** Something has changed since the last telling. */
  hasNews: boolean;
}

export class ChangeNews implements Disposable {
  readonly #tell: (sessionId: SessionId) => Promise<void>;
  readonly #everyMs: number;
  readonly #silences = new Map<SessionId, Silence>();

  /** A telling that fails is no more than that: the workspace is kept with the next turn, or when its sandbox idles. */
  constructor(tell: (sessionId: SessionId) => Promise<void>, everyMs: number = LIMITS.changeToldEveryMs) {
    this.#tell = tell;
    this.#everyMs = everyMs;
  }

  changed(sessionId: SessionId): void {
    const silence = this.#silences.get(sessionId);
    if (silence) silence.hasNews = true;
    else this.#tellNow(sessionId);
  }

  [Symbol.dispose](): void {
    for (const { timer } of this.#silences.values()) clearTimeout(timer);
    this.#silences.clear();
  }

  #tellNow(sessionId: SessionId): void {
    const timer = setTimeout(() => this.#over(sessionId), this.#everyMs).unref();
    this.#silences.set(sessionId, { timer, hasNews: false });
    this.#tell(sessionId).catch(() => undefined);
  }

  #over(sessionId: SessionId): void {
    const silence = this.#silences.get(sessionId);
    this.#silences.delete(sessionId);
    if (silence?.hasNews) this.#tellNow(sessionId);
  }
}
