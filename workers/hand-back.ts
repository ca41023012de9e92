/**
 * Hands the attempts of a dead worker of this host back to Temporal, which then retries them at once.
 *
 * Without it they would wait for their heartbeat timeout. An attempt that is already over is refused by the server.
 */

import { ActivityNotFoundError, type Client } from "@temporalio/client";
import { ApplicationFailure } from "@temporalio/common";
import { forgetAttempts, orphanedAttempts } from "../store/attempts.ts";
import type { Store } from "../store/store.ts";

export interface HandBackDeps {
  readonly store: Store;
  readonly client: Client;
  readonly host: string;
  readonly isAlive: (process: string) => boolean;
}

/** Returns how many were handed back. */
export async function handBackAttempts(deps: HandBackDeps): Promise<number> {
  const orphans = await orphanedAttempts(deps.store.database, deps.host, deps.isAlive);
  const failure = ApplicationFailure.create({ type: "WorkerLost", message: "its worker died", nextRetryDelay: 1 });
  const handed = await Promise.all(
    orphans.map(async (attempt) => {
      try {
        await deps.client.activity.fail(Buffer.from(attempt.taskToken, "base64"), failure);
        return true;
      } catch (error) {
        if (error instanceof ActivityNotFoundError) return false;
        throw error;
      }
    }),
  );
  if (orphans.length > 0) await forgetAttempts(deps.store.database, orphans);
  return handed.filter(Boolean).length;
}
