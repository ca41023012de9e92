/** What callers have asked to end, as rows: a workflow that is begun anew, or older than the rows, must hear of it again. */
import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Schema } from "./schema.ts";

export async function stops(db: Kysely<Schema>): Promise<void> {
  await db.schema.alterTable("sessions").addColumn("ending", "text").execute();
  await db.schema
    .alterTable("sessions")
    .addColumn("ending_told", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
  await db.schema.alterTable("turns").addColumn("stop", "text").execute();
  await db.schema.createIndex("sessions_by_status").on("sessions").columns(["status", "id"]).execute();
  await sql`create index sessions_by_ending on sessions (ending, id) where ending is not null`.execute(db);
}
