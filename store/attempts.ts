/**
 * Activity attempts that run now, by the worker process that runs them.
 *
 * When a worker is killed, the next one on its host finds them here and hands them back to Temporal at once, instead of
 * leaving them to their heartbeat timeout.
 */
import type { Database, Tx } from "./database.ts";

/** One attempt as its worker registers it. */
export interface Attempt {
  /** Temporal's task token, base64. */
  readonly taskToken: string;
  readonly host: string;
  readonly process: string;
}

/**
 * What an attempt has committed may still not be what Temporal has heard: a worker that dies in between leaves an attempt
 * that looks unfinished there. So an ended one is kept for this long, and handed back too; the server refuses what is over.
 */
const ENDED_KEPT_MS = 2_000;

/** Registers the attempt in the transaction that begins its work. A local activity has none: its workflow task brings it back. */
export async function beginAttempt(tx: Tx, attempt: Attempt | undefined): Promise<void> {
  if (!attempt) return;
  const now = Date.now();
  await tx
    .insertInto("attempts")
    .values({
      task_token: attempt.taskToken,
      host: attempt.host,
      process: attempt.process,
      started_at: now,
      ended_at: null,
    })
    .onConflict((conflict) => conflict.column("task_token").doUpdateSet({ ended_at: null }))
    .execute();
  await tx
    .deleteFrom("attempts")
    .where("process", "=", attempt.process)
    .where("ended_at", "<", now - ENDED_KEPT_MS)
    .execute();
}

export async function endAttempt(tx: Tx, attempt: Attempt | undefined): Promise<void> {
  if (!attempt) return;
  await tx.updateTable("attempts").set({ ended_at: Date.now() }).where("task_token", "=", attempt.taskToken).execute();
}

/** Attempts of a host whose process is not among the living. */
export async function orphanedAttempts(
  database: Database,
  host: string,
  isAlive: (process: string) => boolean,
): Promise<readonly Attempt[]> {
  const rows = await database.read.selectFrom("attempts").selectAll().where("host", "=", host).execute();
  return rows
    .filter((row) => !isAlive(row.process))
    .map((row) => ({ taskToken: row.task_token, host: row.host, process: row.process }));
}

export async function forgetAttempts(database: Database, attempts: readonly Attempt[]): Promise<void> {
  await database.write(async (tx) => {
    for (const { taskToken } of attempts) await tx.deleteFrom("attempts").where("task_token", "=", taskToken).execute();
  });
}
