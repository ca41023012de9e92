/** The third change of the schema: sandboxes of any kind, snapshots of their workspaces, callers' commands, terminals. */
import type { Kysely } from "kysely";
import type { Schema } from "./schema.ts";

export async function sandboxesOfAnyKind({ schema }: Kysely<Schema>): Promise<void> {
  for (const name of ["spec", "restored_from", "lost", "maker"]) {
    await schema.alterTable("sandboxes").addColumn(name, "text").execute();
  }
  for (const name of ["told", "used_at", "network_offset", "maker_until"]) {
    await schema
      .alterTable("sandboxes")
      .addColumn(name, "bigint", (c) => c.notNull().defaultTo(0))
      .execute();
  }

  await schema
    .alterTable("tool_calls")
    .addColumn("generation", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
  await schema
    .createTable("settings")
    .addColumn("name", "text", (c) => c.primaryKey())
    .addColumn("value", "text", (c) => c.notNull())
    .execute();
  await schema
    .createTable("hosts")
    .addColumn("host", "text", (c) => c.primaryKey())
    .addColumn("seen_at", "bigint", (c) => c.notNull())
    .execute();

  await schema
    .createTable("snapshots")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("generation", "integer", (c) => c.notNull())
    .addColumn("turn_id", "text")
    .addColumn("manifest", "text", (c) => c.notNull())
    .addColumn("native", "text")
    .addColumn("files", "integer", (c) => c.notNull())
    .addColumn("bytes", "bigint", (c) => c.notNull())
    .addColumn("stored_bytes", "bigint", (c) => c.notNull())
    .addColumn("made_at", "bigint", (c) => c.notNull())
    .execute();
  await schema.createIndex("snapshots_by_session").on("snapshots").columns(["session_id", "made_at"]).execute();

  await schema
    .createTable("snapshot_blobs")
    .addColumn("snapshot_id", "text", (c) => c.notNull())
    .addColumn("sha256", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("snapshot_blobs_key", ["snapshot_id", "sha256"])
    .execute();
  await schema.createIndex("snapshot_blobs_by_content").on("snapshot_blobs").columns(["sha256"]).execute();

  // Removing a blob asks whether an artifact names it.
  await schema.createIndex("artifacts_by_blob").on("artifacts").columns(["sha256"]).execute();

  await schema
    .createTable("workspace_files")
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("path", "text", (c) => c.notNull())
    .addColumn("bytes", "bigint", (c) => c.notNull())
    .addColumn("version", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("workspace_files_key", ["session_id", "path"])
    .execute();

  await schema
    .createTable("commands")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("request", "text", (c) => c.notNull())
    .addColumn("request_hash", "text", (c) => c.notNull())
    .addColumn("epoch", "integer", (c) => c.notNull().defaultTo(0))
    .addColumn("generation", "integer", (c) => c.notNull().defaultTo(0))
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("made_at", "bigint", (c) => c.notNull())
    .addColumn("started_at", "bigint")
    .addColumn("ended_at", "bigint")
    .addColumn("stdout_published", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("stderr_published", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("outcome", "text")
    .addColumn("exit_code", "integer")
    .addColumn("result", "text")
    .execute();
  await schema.createIndex("commands_by_session").on("commands").columns(["session_id", "made_at"]).execute();

  await schema
    .createTable("terminals")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("columns", "integer", (c) => c.notNull())
    .addColumn("rows", "integer", (c) => c.notNull())
    .addColumn("writer", "text")
    .addColumn("opened_at", "bigint", (c) => c.notNull())
    .addColumn("served_at", "bigint", (c) => c.notNull())
    .addColumn("watched_at", "bigint", (c) => c.notNull())
    .addColumn("reason", "text")
    .execute();
  await schema.createIndex("terminals_by_session").on("terminals").columns(["session_id", "state"]).execute();

  await schema
    .createTable("terminal_frames")
    .addColumn("terminal_id", "text", (c) => c.notNull())
    .addColumn("direction", "text", (c) => c.notNull())
    .addColumn("number", "integer", (c) => c.notNull())
    .addColumn("data", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("terminal_frames_key", ["terminal_id", "direction", "number"])
    .execute();
}
