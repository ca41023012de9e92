/** The schema's history, oldest first. Each runs once, in order; a shipped one is never edited. */
import type { CreateTableBuilder, Kysely } from "kysely";
import { sql } from "kysely";
import type { Dialect } from "./database.ts";
import type { Schema } from "./schema.ts";

interface Migration {
  readonly name: string;
  up(db: Kysely<Schema>, dialect: Dialect): Promise<void>;
}

export const MIGRATIONS: readonly Migration[] = [{ name: "0001-first", up: first }];

/**
 * On SQLite the rows of such a table live in its primary key: half the writes of a table with an index beside it. Only for
 * rows that stay small: one over a quarter of a page would take a page of its own there.
 */
function clustered<T extends string, C extends string>(
  table: CreateTableBuilder<T, C>,
  dialect: Dialect,
): CreateTableBuilder<T, C> {
  return dialect === "sqlite" ? table.modifyEnd(sql`without rowid`) : table;
}

async function first(db: Kysely<Schema>, dialect: Dialect): Promise<void> {
  await db.schema
    .createTable("sessions")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("status", "text", (c) => c.notNull())
    .addColumn("title", "text")
    .addColumn("agent_name", "text", (c) => c.notNull())
    .addColumn("agent", "text", (c) => c.notNull())
    .addColumn("metadata", "text", (c) => c.notNull())
    .addColumn("request_hash", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .addColumn("closed_at", "bigint")
    .addColumn("last_seq", "integer", (c) => c.notNull().defaultTo(0))
    .addColumn("next_position", "integer", (c) => c.notNull().defaultTo(1))
    .execute();
  await db.schema.createIndex("sessions_by_age").on("sessions").columns(["created_at", "id"]).execute();

  await db.schema
    .createTable("messages")
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("id", "text", (c) => c.notNull())
    .addColumn("position", "integer", (c) => c.notNull())
    .addColumn("turn_id", "text", (c) => c.notNull())
    .addColumn("mode", "text", (c) => c.notNull())
    .addColumn("content", "text", (c) => c.notNull())
    .addColumn("content_hash", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("received_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("messages_key", ["session_id", "id"])
    .execute();
  await db.schema.createIndex("messages_by_state").on("messages").columns(["state", "received_at"]).execute();

  await db.schema
    .createTable("turns")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("message_id", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("started_at", "bigint", (c) => c.notNull())
    .addColumn("ended_at", "bigint")
    .addColumn("steps", "integer", (c) => c.notNull().defaultTo(0))
    .addColumn("input_tokens", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("output_tokens", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("cached_tokens", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("reasoning_tokens", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("output", "text")
    .addColumn("structured_output", "text")
    .addColumn("re_asked", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
  await db.schema.createIndex("turns_by_session").on("turns").columns(["session_id"]).execute();

  await clustered(
    db.schema
      .createTable("steps")
      .addColumn("turn_id", "text", (c) => c.notNull())
      .addColumn("step", "integer", (c) => c.notNull())
      .addColumn("epoch", "integer", (c) => c.notNull())
      .addColumn("state", "text", (c) => c.notNull())
      .addColumn("failures", "integer", (c) => c.notNull().defaultTo(0))
      .addColumn("result", "text")
      .addPrimaryKeyConstraint("steps_key", ["turn_id", "step"]),
    dialect,
  ).execute();

  await db.schema
    .createTable("transcript")
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("position", "integer", (c) => c.notNull())
    .addColumn("role", "text", (c) => c.notNull())
    .addColumn("blocks", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("transcript_key", ["session_id", "position"])
    .execute();

  await db.schema
    .createTable("tool_calls")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("turn_id", "text", (c) => c.notNull())
    .addColumn("step", "integer", (c) => c.notNull())
    .addColumn("position", "integer", (c) => c.notNull())
    .addColumn("provider_call_id", "text")
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("arguments", "text", (c) => c.notNull())
    .addColumn("arguments_hash", "text", (c) => c.notNull())
    .addColumn("epoch", "integer", (c) => c.notNull().defaultTo(0))
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("started_at", "bigint")
    .addColumn("intent", "text")
    .addColumn("stdout_published", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("stderr_published", "bigint", (c) => c.notNull().defaultTo(0))
    .addColumn("outcome", "text")
    .execute();
  await db.schema.createIndex("tool_calls_by_turn").on("tool_calls").columns(["turn_id", "step"]).execute();

  await db.schema
    .createTable("events")
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("seq", "integer", (c) => c.notNull())
    .addColumn("at", "bigint", (c) => c.notNull())
    .addColumn("fact", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("events_key", ["session_id", "seq"])
    .execute();

  await clustered(
    db.schema
      .createTable("sandboxes")
      .addColumn("session_id", "text", (c) => c.notNull())
      .addColumn("generation", "integer", (c) => c.notNull())
      .addColumn("id", "text", (c) => c.notNull())
      .addColumn("provider", "text", (c) => c.notNull())
      .addColumn("host", "text", (c) => c.notNull())
      .addColumn("state", "text", (c) => c.notNull())
      .addColumn("changed_at", "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint("sandboxes_key", ["session_id", "generation"]),
    dialect,
  ).execute();

  await db.schema
    .createTable("artifacts")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("turn_id", "text", (c) => c.notNull())
    .addColumn("path", "text", (c) => c.notNull())
    .addColumn("sha256", "text", (c) => c.notNull())
    .addColumn("bytes", "bigint", (c) => c.notNull())
    .addColumn("content_type", "text", (c) => c.notNull())
    .addColumn("uploaded_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema
    .createIndex("artifacts_by_content")
    .on("artifacts")
    .columns(["session_id", "path", "sha256"])
    .unique()
    .execute();

  await clustered(
    db.schema
      .createTable("artifact_files")
      .addColumn("session_id", "text", (c) => c.notNull())
      .addColumn("path", "text", (c) => c.notNull())
      .addColumn("bytes", "bigint", (c) => c.notNull())
      .addColumn("modified_at", "double precision", (c) => c.notNull())
      .addColumn("sha256", "text", (c) => c.notNull())
      .addPrimaryKeyConstraint("artifact_files_key", ["session_id", "path"]),
    dialect,
  ).execute();

  await clustered(
    db.schema
      .createTable("blobs")
      .addColumn("sha256", "text", (c) => c.primaryKey())
      .addColumn("bytes", "bigint", (c) => c.notNull())
      .addColumn("created_at", "bigint", (c) => c.notNull()),
    dialect,
  ).execute();

  await clustered(
    db.schema
      .createTable("attempts")
      .addColumn("task_token", "text", (c) => c.primaryKey())
      .addColumn("host", "text", (c) => c.notNull())
      .addColumn("process", "text", (c) => c.notNull())
      .addColumn("started_at", "bigint", (c) => c.notNull())
      .addColumn("ended_at", "bigint"),
    dialect,
  ).execute();
}
