/** What a worker needs of Temporal when it starts: waited for while Temporal is away, and said, instead of dying of it. */
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../contract/limits.ts";

/** Temporal cannot be asked now; nothing is wrong with this worker. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

export interface Waiting {
  /** Aborts when this process is told to stop. */
  readonly stopped: AbortSignal;
  /** Told once per reason. */
  say(reason: string): void;
}

/** gRPC's DEADLINE_EXCEEDED, NOT_FOUND (the namespace, of a server that is just being set up), ABORTED, UNAVAILABLE. */
const AWAY: ReadonlySet<unknown> = new Set([4, 5, 10, 14]);

/** Tries until Temporal answers. Throws what it throws for another reason, and UnreachableError when it is stopped meanwhile. */
export async function untilTemporal<T>(ask: () => Promise<T>, { stopped, say }: Waiting): Promise<T> {
  let said: string | undefined;
  for (
    let pauseMs: number = LIMITS.temporalPauseMs.first;
    ;
    pauseMs = Math.min(pauseMs * 2, LIMITS.temporalPauseMs.max)
  ) {
    // One that is frozen takes the connection and says nothing: the try lasts, and it must be known for what.
    const silent = setTimeout(() => {
      said = `Temporal has not answered for ${LIMITS.temporalSilentMs / 1_000} s`;
      say(said);
    }, LIMITS.temporalSilentMs);
    try {
      return await ask();
    } catch (error) {
      if (!isAway(error) || stopped.aborted) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== said) say(reason);
      said = reason;
    } finally {
      clearTimeout(silent);
    }
    await delay(pauseMs, undefined, { signal: stopped }).catch(() => undefined);
  }
}

function isAway(error: unknown): boolean {
  if (error instanceof UnreachableError) return true;
  return typeof error === "object" && error !== null && "code" in error && AWAY.has(error.code);
}
