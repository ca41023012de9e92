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

/** Registers the attempt in the transaction that begins its work. A local activity has none: its workflow task brings it back. */
export async function beginAttempt(tx: Tx, attempt: Attempt | undefined): Promise<void> {
  if (!attempt) return;
  await tx
    .insertInto("attempts")
    .values({ task_token: attempt.taskToken, host: attempt.host, process: attempt.process, started_at: Date.now() })
    .onConflict((conflict) => conflict.column("task_token").doNothing())
    .execute();
}

export async function endAttempt(tx: Tx, attempt: Attempt | undefined): Promise<void> {
  if (attempt) await tx.deleteFrom("attempts").where("task_token", "=", attempt.taskToken).execute();
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
    for (const attempt of attempts) await endAttempt(tx, attempt);
  });
}
