/** Work that waits for a worker which has what it needs: since when, and when it was last looked for one. */
import type { Kysely } from "kysely";
import type { Schema } from "./schema.ts";

export async function workWaits(db: Kysely<Schema>): Promise<void> {
  await db.schema
    .createTable("work_waits")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("since", "bigint", (c) => c.notNull())
    .addColumn("looked_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("work_waits_by_session").on("work_waits").columns(["session_id"]).execute();
}
