/**
 * Activity attempts that run now, by the worker process that runs them.
 *
 * When a worker is killed, the next one on its host finds them here and hands them back to Temporal at once, instead of
 * leaving them to their heartbeat timeout.
 */
import type { Database, Tx } from "./database.ts";
import { TakenOverError } from "./error.ts";

/** One attempt as its worker registers it. */
export interface Attempt {
  /** Temporal's task token, base64. */
  readonly taskToken: string;
  readonly host: string;
  readonly process: string;
  /** Where it stands among the attempts of the same work; of one without it nothing is known, and it counts as the newest. */
  readonly place?: AttemptPlace;
  /** Set when its row is made; false when that is known to have ended. */
  isOpen?: boolean;
}

/** What tells a late attempt, such as one whose worker was frozen before it began, from the one that Temporal waits for. */
export interface AttemptPlace {
  /** The activity of one workflow run. Work that another activity goes on with, or a rebuilt workflow, has several. */
  readonly activity: string;
  /** Temporal's count of its attempts, which begins anew in another activity and when an operator resets this one. */
  readonly number: number;
  /** When Temporal scheduled this attempt, by its own clock. */
  readonly at: number;
}

/** By how much Temporal's clock may be ahead of this host's. A place further in the future was taken before a clock was set back. */
const CLOCKS_APART_MS = 60_000;

/** Whether an attempt comes after another one that was sent later. */
export function isLate({ place }: Attempt, than: AttemptPlace | undefined): boolean {
  if (!place || !than) return false;
  if (place.activity === than.activity) return place.number < than.number && place.at <= than.at;
  return place.at < than.at && than.at < Date.now() + CLOCKS_APART_MS;
}

/**
 * What the work's row says of the attempt that has it: the value to write for this one. Throws TakenOverError when a later one
 * has it already. Epochs alone would not do: they rise for whoever comes, in whatever order.
 */
export function takeOver(attempt: Attempt | undefined, takenBy: string | null | undefined): string | null {
  const holder = takenBy ? (JSON.parse(takenBy) as AttemptPlace) : undefined; // A row of ours.
  if (attempt && isLate(attempt, holder)) throw new TakenOverError("a later attempt has this work already");
  return attempt?.place ? JSON.stringify(attempt.place) : null;
}

/**
 * What an attempt has committed may still not be what Temporal has heard: a worker that dies in between leaves an attempt
 * that looks unfinished there. So an ended one is kept for this long, and handed back too; the server refuses what is over.
 */
export const ENDED_KEPT_MS = 2_000;

/** Registers the attempt in the transaction that begins its work. A local activity has none: its workflow task brings it back. */
export async function beginAttempt(tx: Tx, attempt: Attempt | undefined): Promise<void> {
  if (!attempt) return;
  const now = Date.now();
  attempt.isOpen = true;
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
}

export async function endAttempt(tx: Tx, attempt: Attempt | undefined): Promise<void> {
  if (!attempt) return;
  attempt.isOpen = false;
  await tx.updateTable("attempts").set({ ended_at: Date.now() }).where("task_token", "=", attempt.taskToken).execute();
}

/** Ends an attempt outside of its work's own transactions, and begins the one that goes on with it. */
export async function recordEnd(database: Database, attempt: Attempt, next?: Attempt): Promise<void> {
  await database.write(async (tx) => {
    await endAttempt(tx, attempt);
    if (next) await beginAttempt(tx, next);
  });
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

/** Those of a process that have ended long enough ago. Answers how many of it are left to be forgotten later. */
export async function forgetEnded(database: Database, process: string): Promise<number> {
  return await database.write(async (tx) => {
    const ended = Date.now() - ENDED_KEPT_MS;
    await tx.deleteFrom("attempts").where("process", "=", process).where("ended_at", "<=", ended).execute();
    const left = await tx
      .selectFrom("attempts")
      .select((eb) => eb.fn.countAll<number>().as("count"))
      .where("process", "=", process)
      .where("ended_at", "is not", null)
      .executeTakeFirst();
    return Number(left?.count ?? 0);
  });
}

/** Those that Temporal itself has given up by now, of whatever host: nobody hands them back any more. */
export async function forgetOldAttempts(database: Database, before: number): Promise<void> {
  await database.write((tx) => tx.deleteFrom("attempts").where("started_at", "<", before).execute());
}
