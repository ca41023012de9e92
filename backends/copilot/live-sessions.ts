/**
 * The sessions that stay open in a runtime between two steps, so that it need not read their logs anew.
 *
 * They save time and nothing else: what is committed is the truth, and a step that finds none of them goes on from that.
 */
import { LIMITS } from "../../contract/limits.ts";
import type { BackendState } from "../backend.ts";
import type { RuntimeSession, Standing } from "./runtime-session.ts";

export interface LiveSessionsParts {
  readonly max: number;
  /** Has the runtime let go of it. */
  close(session: RuntimeSession): Promise<void>;
}

/** What a step begins with. */
interface Begins {
  readonly setup: string;
  readonly state: BackendState | undefined;
}

interface Kept {
  readonly session: RuntimeSession;
  readonly sessionId: string;
  /** Of its log, which is in memory. */
  readonly characters: number;
  readonly idle: NodeJS.Timeout;
}

export class LiveSessions {
  readonly #parts: LiveSessionsParts;
  /** Those that rest, the one that came last at the end. */
  readonly #kept = new Set<Kept>();
  #isOver = false;

  constructor(parts: LiveSessionsParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#kept.size;
  }

  /** The one that stands just where the step begins, which is then the caller's alone. Whatever else there is of the session is closed. */
  take(sessionId: string, at: Begins): RuntimeSession | undefined {
    const { setup, state } = at;
    let found: RuntimeSession | undefined;
    for (const kept of [...this.#kept].filter((one) => one.sessionId === sessionId)) {
      const { session } = kept;
      const fits = found === undefined && state !== undefined && session.setup === setup && session.standsAt(state);
      this.#remove(kept);
      if (fits) found = session;
      else void this.#parts.close(session);
    }
    return found;
  }

  /** Leaves it open. Those that have rested longest go when there are too many, or they are too large together. */
  keep(session: RuntimeSession, at: { readonly sessionId: string; readonly standing: Standing }): void {
    session.rest(at.standing);
    const idle = setTimeout(() => this.#drop(kept), LIMITS.copilotLiveIdleMs);
    idle.unref();
    const kept: Kept = { session, sessionId: at.sessionId, characters: at.standing.length, idle };
    this.#kept.add(kept);
    if (session.ageMs > LIMITS.copilotLiveAgeMs) this.#drop(kept);
    for (const oldest of this.#kept) {
      if (this.#isWithinBounds()) return;
      this.#drop(oldest);
    }
  }

  /** From here on none stays open. */
  end(): void {
    this.#isOver = true;
    for (const kept of [...this.#kept]) this.#drop(kept);
  }

  #isWithinBounds(): boolean {
    const characters = [...this.#kept].reduce((sum, kept) => sum + kept.characters, 0);
    return this.#kept.size <= (this.#isOver ? 0 : this.#parts.max) && characters <= LIMITS.copilotLiveCharacters;
  }

  #drop(kept: Kept): void {
    this.#remove(kept);
    void this.#parts.close(kept.session);
  }

  #remove(kept: Kept): void {
    clearTimeout(kept.idle);
    this.#kept.delete(kept);
  }
}
