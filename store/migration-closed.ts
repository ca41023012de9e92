/** Closed sessions by when they were closed: those that have been kept long enough are found without a look at all others. */
import type { Kysely } from "kysely";
import type { Schema } from "./schema.ts";

export async function closedSessions(db: Kysely<Schema>): Promise<void> {
  await db.schema
    .createIndex("sessions_closed")
    .on("sessions")
    .column("closed_at")
    .where("closed_at", "is not", null)
    .execute();
}
