/**
 * Opens the store of a state folder, also while its disk is full or another process has it locked: that passes, and a process
 * that died of it would only start again. Bounded by `LIMITS.storeWaitMs`.
 */
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../contract/limits.ts";
import { StoreError } from "./error.ts";
import { openStore, type Store } from "./store.ts";

export interface StoreWaiting {
  /** As `openStore` takes it. */
  readonly synchronous?: Parameters<typeof openStore>[1];
  readonly signal: AbortSignal;
  /** Told once per reason: what is waited for, in words. */
  say(reason: string): void;
  readonly forMs?: number;
}

/** @throws StoreError when it cannot be opened in that time, or for another reason, or the signal aborts. */
export async function openStoreWhenFree(
  stateDir: string,
  { synchronous, signal, say, forMs = LIMITS.storeWaitMs }: StoreWaiting,
): Promise<Store> {
  const deadline = Date.now() + forMs;
  for (let said: string | undefined; ; ) {
    try {
      return await openStore(stateDir, synchronous);
    } catch (error) {
      const reason = passing(error);
      if (reason === undefined || signal.aborted) throw error;
      if (Date.now() >= deadline) {
        const message = `${reason}; waited ${forMs / 1_000} s for it: free some space, or end the program that has it locked`;
        throw new StoreError("failed", message, { cause: error });
      }
      if (reason !== said) say(reason);
      said = reason;
    }
    await delay(LIMITS.storeLookMs, undefined, { signal }).catch(() => undefined);
  }
}

const WORDS = {
  locked: "another process has the store's database locked",
  full: "the disk of the state directory is full",
} as const;
const FULL: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** What will pass, in words. */
function passing(error: unknown): string | undefined {
  if (error instanceof StoreError)
    return error.kind === "locked" || error.kind === "full" ? WORDS[error.kind] : undefined;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return FULL.has(code) ? WORDS.full : undefined;
}
