/** Session rows: created once per id, listed newest first, closed once, purged with everything that is theirs. */
import { randomUUID } from "node:crypto";
import type { Agent, AgentRef, ClientTool } from "../contract/agents.ts";
import { ProblemError } from "../contract/errors.ts";
import type { SessionId } from "../contract/ids.ts";
import { Metadata, type Session, SessionStatus } from "../contract/session.ts";
import type { Database } from "./database.ts";
import { append } from "./event-log.ts";
import { isOlder } from "./newest-first.ts";
import { firstPage, type Page } from "./page-size.ts";
import { sessionRequestHash } from "./request-hash.ts";
import type { SessionsTable } from "./schema.ts";
import { storedAgent } from "./session-setup.ts";

export interface NewSession {
  readonly id: SessionId;
  /** The whole agent, overrides in it. */
  readonly agent: Agent;
  /** The stored agent that it was made from. */
  readonly agentRef?: AgentRef | undefined;
  readonly clientTools?: readonly ClientTool[] | undefined;
  readonly title: string | undefined;
  readonly metadata: Metadata;
  /** Of what was asked for; by default, of exactly this agent. */
  readonly requestHash?: string | undefined;
}

/** Makes the session, or finds it when it was made before from the same content. Other content under the id is a CONFLICT. */
export async function createSession(
  database: Database,
  wanted: NewSession,
): Promise<{ readonly session: Session; readonly created: boolean }> {
  const hash = wanted.requestHash ?? sessionRequestHash(wanted);
  return await database.write(async (tx) => {
    const found = await tx.selectFrom("sessions").selectAll().where("id", "=", wanted.id).executeTakeFirst();
    if (found) return { session: asRequested(found, hash), created: false };
    await tx.insertInto("sessions").values(newRow(wanted, hash)).execute();
    await append(tx, wanted.id, [
      { type: "session.created", agent: wanted.agent.name, ...(wanted.title !== undefined && { title: wanted.title }) },
    ]);
    // Read back, because the append has moved the row on: who asks again is shown the same.
    const made = await tx.selectFrom("sessions").selectAll().where("id", "=", wanted.id).executeTakeFirstOrThrow();
    return { session: toSession(made), created: true };
  });
}

/** The session that an equal request has made before; undefined when none has. Another request's under this id is a CONFLICT. */
export async function findRequested(database: Database, id: SessionId, hash: string): Promise<Session | undefined> {
  const row = await database.read.selectFrom("sessions").selectAll().where("id", "=", id).executeTakeFirst();
  return row && asRequested(row, hash);
}

function asRequested(row: SessionsTable, hash: string): Session {
  if (row.ending === "delete")
    throw new ProblemError(
      "CONFLICT",
      `session ${row.id} is being deleted; try again when it is gone, or use another id`,
    );
  if (row.request_hash === hash) return toSession(row);
  throw new ProblemError(
    "CONFLICT",
    `a session ${row.id} exists that was asked for with another agent, overrides, tools, title or metadata; use another id`,
  );
}

function newRow(wanted: NewSession, hash: string): SessionsTable {
  const now = Date.now();
  return {
    id: wanted.id,
    status: "idle",
    title: wanted.title ?? null,
    agent_name: wanted.agent.name,
    agent: JSON.stringify(wanted.agent),
    metadata: JSON.stringify(wanted.metadata),
    request_hash: hash,
    created_at: now,
    updated_at: now,
    closed_at: null,
    last_seq: 0,
    next_position: 1,
    agent_id: wanted.agentRef?.id ?? null,
    agent_version: wanted.agentRef?.version ?? null,
    client_tools: JSON.stringify(wanted.clientTools ?? []),
    configuration: 0,
    pending_configuration: null,
    incarnation: randomUUID(),
    workflow_id: null,
    ending: null,
    ending_told: 0,
  };
}

export async function findSession(database: Database, id: SessionId): Promise<Session | undefined> {
  const row = await database.read.selectFrom("sessions").selectAll().where("id", "=", id).executeTakeFirst();
  return row && toSession(row);
}

/** The session, or the SESSION_NOT_FOUND that an edge answers with. */
export async function getSession(database: Database, id: SessionId): Promise<Session> {
  const session = await findSession(database, id);
  if (!session) throw new ProblemError("SESSION_NOT_FOUND", `there is no session ${id}; POST /v1/sessions makes one`);
  return session;
}

export interface SessionFilter {
  readonly status?: SessionStatus | undefined;
  /** An agent's name, or the id of a stored one. */
  readonly agent?: string | undefined;
  /** Every pair must be there. */
  readonly metadata: Metadata;
  /** Start after this one, in the list's order. */
  readonly after?: { readonly createdAt: number; readonly id: string } | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listSessions(database: Database, filter: SessionFilter): Promise<Page<Session>> {
  const { status, agent, after } = filter;
  let query = database.read.selectFrom("sessions").selectAll();
  if (status !== undefined) query = query.where("status", "=", status);
  if (agent !== undefined) {
    query = query.where((eb) => eb.or([eb("agent_name", "=", agent), eb("agent_id", "=", agent)]));
  }
  for (const [key, value] of Object.entries(filter.metadata)) {
    // Metadata is JSON text of ours, with plain keys: the pair stands in it as these very characters, and nothing else does.
    const pair = `${JSON.stringify(key)}:${JSON.stringify(value)}`;
    query = query.where((eb) => eb(eb.fn("replace", ["metadata", eb.val(pair), eb.val("")]), "<>", eb.ref("metadata")));
  }
  if (after) query = query.where(isOlder(after));
  const ordered = query.orderBy("created_at", "desc").orderBy("id", "desc");
  const { rows, hasMore } = await firstPage(ordered, { large: "agent", limit: filter.limit });
  return { rows: rows.map(toSession), hasMore };
}

/** Whether a session is open that was made before 0.4: its workflow runs on the queues of that time. */
export async function hasOldSessions(database: Database): Promise<boolean> {
  const old = database.read.selectFrom("sessions").select("id").where("incarnation", "=", "");
  return (await old.where("closed_at", "is", null).executeTakeFirst()) !== undefined;
}

/** Deletes every row of a session. Its blobs stay until `removeUnusedBlobs`, because other sessions may hold the same bytes. */
export async function purgeSession(database: Database, id: SessionId): Promise<void> {
  await database.write(async (tx) => {
    const turns = await tx.deleteFrom("turns").where("session_id", "=", id).returning("id").execute();
    for (const turn of turns) await tx.deleteFrom("steps").where("turn_id", "=", turn.id).execute();
    const snapshots = tx.selectFrom("snapshots").select("id").where("session_id", "=", id);
    await tx.deleteFrom("snapshot_blobs").where("snapshot_id", "in", snapshots).execute();
    const terminals = tx.selectFrom("terminals").select("id").where("session_id", "=", id);
    await tx.deleteFrom("terminal_frames").where("terminal_id", "in", terminals).execute();
    const tables = [
      "messages",
      "transcript",
      "tool_calls",
      "events",
      "sandboxes",
      "artifacts",
      "artifact_files",
      "waits",
      "grants", // Those of wider scopes name no session.
      "backend_states",
      "backend_state_chunks",
      "snapshots",
      "workspace_files",
      "commands",
      "terminals",
      "work_waits",
    ] as const;
    for (const table of tables) await tx.deleteFrom(table).where("session_id", "=", id).execute();
    await tx.deleteFrom("sessions").where("id", "=", id).execute();
  });
}

export function toSession(row: SessionsTable): Session {
  const hasRef = row.agent_id !== null && row.agent_version !== null;
  return {
    id: row.id,
    status: SessionStatus.parse(row.status),
    title: row.title,
    agent: storedAgent(row.agent),
    agentRef: hasRef ? { id: row.agent_id ?? "", version: row.agent_version ?? 0 } : null,
    clientTools: JSON.parse(row.client_tools) as ClientTool[],
    metadata: Metadata.parse(JSON.parse(row.metadata)),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    closedAt: row.closed_at,
    lastSeq: row.last_seq,
  };
}
