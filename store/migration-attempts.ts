/** Which attempt has a piece of work: where it stands among Temporal's, so that a late one takes nothing over. */
import type { Kysely } from "kysely";
import type { Schema } from "./schema.ts";

export async function attemptPlaces(db: Kysely<Schema>): Promise<void> {
  for (const table of ["steps", "tool_calls", "commands", "terminals"] as const) {
    await db.schema.alterTable(table).addColumn("taken_by", "text").execute();
  }
}
