/** What of the artifact folders was not looked at: an event, once for a folder while the last one is not long ago in the log. */
import { sql } from "kysely";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { TurnKey } from "../contract/steps.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";

/** Whether one of the session's last events says so of the folder. */
export async function isSkipTold(database: Database, sessionId: SessionId, folder: string): Promise<boolean> {
  return await isTold(database.read, sessionId, folder);
}

/** Says that the folder has more entries than are looked at. Safe to repeat. */
export async function tellSkip(database: Database, { sessionId, turnId }: TurnKey, folder: string): Promise<void> {
  const skip = { type: "artifacts.skipped", turnId, folder, reason: "too_many" } as const;
  await database.write(async (tx) => {
    if (await isTold(tx, sessionId, folder)) return;
    await append(tx, sessionId, [{ ...skip, looked: LIMITS.artifactsPerScan }]);
  });
}

async function isTold(from: Database["read"] | Tx, sessionId: SessionId, folder: string): Promise<boolean> {
  const row = await from
    .selectFrom("events")
    .innerJoin("sessions", "sessions.id", "events.session_id")
    .select("events.seq")
    .where("events.session_id", "=", sessionId)
    .whereRef("events.seq", ">", sql<number>`sessions.last_seq - ${LIMITS.skipToldEvents}`)
    .where("events.fact", "like", '{"type":"artifacts.skipped"%')
    .where(sql<boolean>`json_extract(events.fact, '$.folder') = ${folder}`)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}
