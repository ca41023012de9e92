/** The schema's history, oldest first. Each runs once, in order; a shipped one is never edited. */
import type { CreateTableBuilder, Kysely } from "kysely";
import { sql } from "kysely";
import type { Dialect } from "./database.ts";
import { attemptPlaces } from "./migration-attempts.ts";
import { closedSessions } from "./migration-closed.ts";
import { incarnations } from "./migration-incarnations.ts";
import { sandboxesOfAnyKind } from "./migration-sandboxes.ts";
import { stops } from "./migration-stops.ts";
import { unkeptWorkspaces } from "./migration-unkept.ts";
import { workWaits } from "./migration-work-waits.ts";
import type { Schema } from "./schema.ts";

interface Migration {
  readonly name: string;
  up(db: Kysely<Schema>, dialect: Dialect): Promise<void>;
}

export const MIGRATIONS: readonly Migration[] = [
  { name: "0001-first", up: first },
  { name: "0002-people-and-agents", up: peopleAndAgents },
  { name: "0003-sandboxes", up: sandboxesOfAnyKind },
  { name: "0004-incarnations", up: incarnations },
  { name: "0005-attempt-places", up: attemptPlaces },
  { name: "0006-unkept-workspaces", up: unkeptWorkspaces },
  { name: "0007-work-waits", up: workWaits },
  { name: "0008-closed-sessions", up: closedSessions },
  { name: "0009-stops", up: stops },
];

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

async function peopleAndAgents(db: Kysely<Schema>, dialect: Dialect): Promise<void> {
  const { schema } = db;
  await schema.alterTable("sessions").addColumn("agent_id", "text").execute();
  await schema.alterTable("sessions").addColumn("agent_version", "integer").execute();
  await schema
    .alterTable("sessions")
    .addColumn("client_tools", "text", (c) => c.notNull().defaultTo("[]"))
    .execute();
  await schema
    .alterTable("sessions")
    .addColumn("configuration", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
  await schema.alterTable("sessions").addColumn("pending_configuration", "text").execute();
  await schema
    .alterTable("tool_calls")
    .addColumn("edited", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
  await schema
    .alterTable("transcript")
    .addColumn("interrupted", "integer", (c) => c.notNull().defaultTo(0))
    .execute();
  // The field had another name in 0.1.
  for (const { id, agent } of await db.selectFrom("sessions").select(["id", "agent"]).execute()) {
    const { backendOptions, ...rest } = JSON.parse(agent) as Record<string, unknown>;
    const renamed = JSON.stringify({ ...rest, modelSettings: backendOptions ?? {} });
    await db.updateTable("sessions").set({ agent: renamed }).where("id", "=", id).execute();
  }

  await schema
    .createTable("agents")
    .addColumn("id", "text", (c) => c.notNull())
    .addColumn("version", "integer", (c) => c.notNull())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("agent", "text", (c) => c.notNull())
    .addColumn("content_hash", "text", (c) => c.notNull())
    .addColumn("source", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("deleted_at", "bigint")
    .addPrimaryKeyConstraint("agents_key", ["id", "version"])
    .execute();

  await schema
    .createTable("waits")
    .addColumn("call_id", "text", (c) => c.notNull())
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("turn_id", "text", (c) => c.notNull())
    .addColumn("step", "integer", (c) => c.notNull())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("requested_at", "bigint", (c) => c.notNull())
    .addColumn("deadline", "bigint", (c) => c.notNull())
    .addColumn("arguments", "text", (c) => c.notNull())
    .addColumn("arguments_hash", "text", (c) => c.notNull())
    .addColumn("request", "text", (c) => c.notNull())
    .addColumn("decision", "text")
    .addColumn("decided_at", "bigint")
    .addColumn("decided_key", "text")
    .addColumn("delivered", "integer", (c) => c.notNull().defaultTo(0))
    .addPrimaryKeyConstraint("waits_key", ["call_id", "kind"])
    .execute();
  await schema.createIndex("waits_by_session").on("waits").columns(["session_id", "state"]).execute();
  await schema.createIndex("waits_by_age").on("waits").columns(["kind", "requested_at", "call_id"]).execute();
  await schema
    .createIndex("waits_by_state")
    .on("waits")
    .columns(["kind", "state", "requested_at", "call_id"])
    .execute();
  await schema.createIndex("waits_by_delivery").on("waits").columns(["state", "delivered"]).execute();

  await schema
    .createTable("grants")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("scope", "text", (c) => c.notNull())
    .addColumn("session_id", "text")
    .addColumn("project", "text")
    .addColumn("tool", "text", (c) => c.notNull())
    .addColumn("action", "text", (c) => c.notNull())
    .addColumn("match", "text")
    .addColumn("arguments_hash", "text")
    .addColumn("reason", "text")
    .addColumn("call_id", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("revoked_at", "bigint")
    .execute();
  await schema.createIndex("grants_by_tool").on("grants").columns(["tool", "scope"]).execute();

  await clustered(
    schema
      .createTable("backend_states")
      .addColumn("session_id", "text", (c) => c.notNull())
      .addColumn("backend", "text", (c) => c.notNull())
      .addColumn("generation", "integer", (c) => c.notNull())
      .addColumn("chunks", "integer", (c) => c.notNull())
      .addColumn("meta", "text", (c) => c.notNull())
      .addColumn("turn_id", "text", (c) => c.notNull())
      .addColumn("step", "integer", (c) => c.notNull())
      .addPrimaryKeyConstraint("backend_states_key", ["session_id", "backend"]),
    dialect,
  ).execute();
  await schema
    .createTable("backend_state_chunks")
    .addColumn("session_id", "text", (c) => c.notNull())
    .addColumn("backend", "text", (c) => c.notNull())
    .addColumn("generation", "integer", (c) => c.notNull())
    .addColumn("number", "integer", (c) => c.notNull())
    .addColumn("text", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("backend_state_chunks_key", ["session_id", "backend", "generation", "number"])
    .execute();

  await schema
    .createTable("workers")
    .addColumn("id", "text", (c) => c.primaryKey())
    .addColumn("started_at", "bigint", (c) => c.notNull())
    .addColumn("seen_at", "bigint", (c) => c.notNull())
    .addColumn("announcement", "text", (c) => c.notNull())
    .execute();
}
