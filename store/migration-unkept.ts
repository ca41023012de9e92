/** Of a sandbox whose workspace could not be kept: the turn of which it was said, or why. */
import type { Kysely } from "kysely";
import type { Schema } from "./schema.ts";

export async function unkeptWorkspaces(db: Kysely<Schema>): Promise<void> {
  await db.schema.alterTable("sandboxes").addColumn("unkept", "text").execute();
}
