/** Stored agents: immutable versions under one id. What a session has pinned goes on, whatever becomes of the agent. */
import type { Kysely, SelectQueryBuilder } from "kysely";
import type { Agent, AgentRef, Handoff } from "../contract/agents.ts";
import { ProblemError } from "../contract/errors.ts";
import type { StoredAgent } from "../contract/http.ts";
import type { AgentId } from "../contract/ids.ts";
import { contentHash } from "./content-hash.ts";
import type { Database, Tx } from "./database.ts";
import { firstPage, type Page } from "./page-size.ts";
import type { AgentsTable, Schema } from "./schema.ts";
import { storedAgent } from "./session-setup.ts";

/** The database as a reader or a transaction sees it. */
type Reader = Kysely<Schema>;

export interface NewAgent {
  readonly id: AgentId;
  readonly agent: Agent;
  /** `api`, or the file that it was loaded from. */
  readonly source: string;
}

export interface AgentKept {
  readonly stored: StoredAgent;
  /** false: this version was there. */
  readonly created: boolean;
}

/** Makes an agent, or finds the one that was made from the same content. Other content under the id is a CONFLICT. */
export async function createAgent(database: Database, wanted: NewAgent): Promise<AgentKept> {
  const agent = guarded(wanted.agent);
  const hash = contentHash(agent);
  return await database.write(async (tx) => {
    const live = await liveVersions(tx, wanted.id);
    if (live.length === 0) return await addVersion(tx, { ...wanted, agent }, hash);
    // The newest, or the first: a repeat of the request that made the agent finds what it made, though there are newer ones.
    const same = [live.at(-1), live[0]].find((row) => row?.content_hash === hash);
    if (same) return { stored: toStored(same), created: false };
    throw new ProblemError(
      "CONFLICT",
      `an agent ${wanted.id} exists with other content; PUT /v1/agents/${wanted.id} makes a new version of it, another id a new agent`,
    );
  });
}

/**
 * Makes a new version, the first when there is none. Content equal to the newest version's makes nothing.
 * Throws CONFLICT when `ifVersion` is not the newest.
 */
export async function putAgent(
  database: Database,
  wanted: NewAgent & { readonly ifVersion?: number | undefined },
): Promise<AgentKept> {
  const agent = guarded(wanted.agent);
  const hash = contentHash(agent);
  return await database.write(async (tx) => {
    const newest = (await liveVersions(tx, wanted.id)).at(-1);
    // Before the condition: a repeat whose first answer was lost has made the version that it meets.
    if (newest?.content_hash === hash) return { stored: toStored(newest), created: false };
    if (wanted.ifVersion !== undefined && newest?.version !== wanted.ifVersion) {
      const found = newest ? `its newest version is ${newest.version}` : "there is none";
      throw new ProblemError("CONFLICT", `expected agent ${wanted.id} at version ${wanted.ifVersion}; ${found}`);
    }
    return await addVersion(tx, { ...wanted, agent }, hash);
  });
}

/**
 * A stored agent is used by many, and by some who did not write it: one that says nothing of a policy asks before tools
 * change the world (docs/decisions/0009-default-policy.md).
 */
function guarded(agent: Agent): Agent {
  return { ...agent, policy: agent.policy ?? { rules: [] } };
}

async function liveVersions(tx: Tx, id: AgentId): Promise<readonly AgentsTable[]> {
  return await tx
    .selectFrom("agents")
    .selectAll()
    .where("id", "=", id)
    .where("deleted_at", "is", null)
    .orderBy("version")
    .execute();
}

/** The next version. Versions of an agent that was deleted are counted too: a number never means two contents. */
async function addVersion(tx: Tx, wanted: NewAgent, hash: string): Promise<AgentKept> {
  const last = await tx
    .selectFrom("agents")
    .select((eb) => eb.fn.max("version").as("version"))
    .where("id", "=", wanted.id)
    .executeTakeFirst();
  const row: AgentsTable = {
    id: wanted.id,
    version: Number(last?.version ?? 0) + 1,
    name: wanted.agent.name,
    agent: JSON.stringify(wanted.agent),
    content_hash: hash,
    source: wanted.source,
    created_at: Date.now(),
    deleted_at: null,
  };
  await tx.insertInto("agents").values(row).execute();
  return { stored: toStored(row), created: true };
}

/** One version, also of an agent that was deleted. */
export async function findAgentVersion(reader: Reader, ref: AgentRef): Promise<StoredAgent | undefined> {
  const row = await reader
    .selectFrom("agents")
    .selectAll()
    .where("id", "=", ref.id)
    .where("version", "=", ref.version)
    .executeTakeFirst();
  return row && toStored(row);
}

/** The newest version of an agent that was not deleted. */
export async function findAgent(reader: Reader, id: AgentId): Promise<StoredAgent | undefined> {
  const row = await reader
    .selectFrom("agents")
    .selectAll()
    .where("id", "=", id)
    .where("deleted_at", "is", null)
    .orderBy("version", "desc")
    .limit(1)
    .executeTakeFirst();
  return row && toStored(row);
}

/** A version of an agent, or its newest one, or the AGENT_NOT_FOUND that an edge answers with. */
export async function getAgent(reader: Reader, id: AgentId, version?: number): Promise<StoredAgent> {
  const found = version === undefined ? await findAgent(reader, id) : await findAgentVersion(reader, { id, version });
  if (found) return found;
  const what = version === undefined ? `no agent ${id}` : `no version ${version} of an agent ${id}`;
  throw new ProblemError("AGENT_NOT_FOUND", `there is ${what}; GET /v1/agents lists what there is`);
}

/** The newest version of each agent, by id. */
export async function listAgents(
  database: Database,
  range: { readonly after?: string | undefined; readonly limit: number },
): Promise<Page<StoredAgent>> {
  let query = database.read
    .selectFrom("agents")
    .selectAll()
    .where("deleted_at", "is", null)
    .where(({ eb, selectFrom }) =>
      eb(
        "version",
        "=",
        // Versions of one agent that are newer than a live one are live themselves.
        selectFrom("agents as other")
          .select((of) => of.fn.max("other.version").as("version"))
          .whereRef("other.id", "=", "agents.id"),
      ),
    );
  if (range.after !== undefined) query = query.where("id", ">", range.after);
  return await storedPage(query.orderBy("id"), range.limit);
}

/** All versions of an agent, newest first, deleted ones too. */
export async function listAgentVersions(
  database: Database,
  id: AgentId,
  range: { readonly before?: number | undefined; readonly limit: number },
): Promise<Page<StoredAgent>> {
  let query = database.read.selectFrom("agents").selectAll().where("id", "=", id);
  if (range.before !== undefined) query = query.where("version", "<", range.before);
  return await storedPage(query.orderBy("version", "desc"), range.limit);
}

async function storedPage(
  query: SelectQueryBuilder<Schema, "agents", AgentsTable>,
  limit: number,
): Promise<Page<StoredAgent>> {
  const { rows, hasMore } = await firstPage(query, { large: "agent", limit });
  return { rows: rows.map(toStored), hasMore };
}

/** Deletes all versions of an agent; false when there never was one. Sessions that pin one go on. */
export async function deleteAgent(database: Database, id: AgentId): Promise<boolean> {
  return await database.write(async (tx) => {
    const known = await tx.selectFrom("agents").select("version").where("id", "=", id).limit(1).executeTakeFirst();
    await tx
      .updateTable("agents")
      .set({ deleted_at: Date.now() })
      .where("id", "=", id)
      .where("deleted_at", "is", null)
      .execute();
    return known !== undefined;
  });
}

/**
 * The agent with a version for each agent that it may hand over to, so that later versions of those change nothing for
 * who pins it. One that was deleted since is left out: there is nobody to hand over to.
 */
export async function pinHandoffs(reader: Reader, agent: Agent): Promise<Agent> {
  if (agent.handoffs.every((handoff) => handoff.version !== undefined)) return agent;
  const handoffs: Handoff[] = [];
  for (const handoff of agent.handoffs) {
    const version = handoff.version ?? (await findAgent(reader, handoff.agent))?.version;
    if (version !== undefined) handoffs.push({ ...handoff, version });
  }
  return { ...agent, handoffs };
}

function toStored(row: AgentsTable): StoredAgent {
  return {
    id: row.id,
    version: row.version,
    agent: storedAgent(row.agent),
    source: row.source,
    createdAt: row.created_at,
    deletedAt: row.deleted_at,
  };
}
