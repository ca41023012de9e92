/** What tells a session from an earlier one of the same id, and the workflow that carries it. */
import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Schema } from "./schema.ts";

export async function incarnations(db: Kysely<Schema>): Promise<void> {
  // Empty in sessions of versions before 0.4: their workflows know of none, and run on the queue of that time.
  await db.schema
    .alterTable("sessions")
    .addColumn("incarnation", "text", (c) => c.notNull().defaultTo(""))
    .execute();
  await db.schema.alterTable("sessions").addColumn("workflow_id", "text").execute();
  await sql`update sessions set workflow_id = id`.execute(db);
  // The next worker removes what that version left at Temporal (workers/sweeps.ts).
  await sql`insert into settings (name, value) select 'from-before-0.4', '1' where exists (select 1 from settings)`.execute(
    db,
  );
}
