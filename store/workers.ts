/** Running workers and what they can, as each says of itself while it lives. */
import { WorkerAnnouncement, type WorkerAnnouncementInput } from "../contract/backends.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Database } from "./database.ts";

/** Writes a worker's row, or renews it. Rows that nobody has renewed for long go with it: their workers were killed. */
export async function announceWorker(
  database: Database,
  worker: { readonly id: string; readonly announcement: WorkerAnnouncementInput },
): Promise<void> {
  const now = Date.now();
  const announcement = JSON.stringify(worker.announcement);
  await database.write(async (tx) => {
    await tx
      .insertInto("workers")
      .values({ id: worker.id, started_at: now, seen_at: now, announcement })
      .onConflict((conflict) => conflict.column("id").doUpdateSet({ seen_at: now, announcement }))
      .execute();
    await tx
      .deleteFrom("workers")
      .where("seen_at", "<", now - LIMITS.announcedKeptMs)
      .execute();
  });
}

/** A worker that ends, or is known to be dead. One that is not there changes nothing. */
export async function withdrawWorker(database: Database, id: string): Promise<void> {
  await database.write((tx) => tx.deleteFrom("workers").where("id", "=", id).execute());
}

/** Ids of all rows, those of killed workers among them. */
export async function announcedWorkers(database: Database): Promise<readonly string[]> {
  const rows = await database.read.selectFrom("workers").select("id").execute();
  return rows.map(({ id }) => id);
}

export interface LivingWorker {
  readonly id: string;
  readonly said: WorkerAnnouncement;
}

/** The running workers with what they say, the one that started last first. */
export async function livingWorkers(from: Database["read"]): Promise<readonly LivingWorker[]> {
  const rows = await from
    .selectFrom("workers")
    .select(["id", "announcement"])
    .where("seen_at", ">=", Date.now() - LIMITS.announcedKeptMs)
    .orderBy("started_at", "desc")
    .orderBy("id")
    .execute();
  return rows.flatMap(({ id, announcement }) => {
    const read = WorkerAnnouncement.safeParse(JSON.parse(announcement));
    return read.success ? [{ id, said: read.data }] : [];
  });
}

/** What the running workers say, the one that started last first. A row of another version, which this one cannot read, is passed over. */
export async function runningWorkers(database: Database): Promise<readonly WorkerAnnouncement[]> {
  return (await livingWorkers(database.read)).map(({ said }) => said);
}
