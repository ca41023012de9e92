/**
 * What a session runs as, changed on purpose: at once while no turn runs, else at the end of the turn, in its transaction.
 * The turns table decides which of the two, inside one transaction: a turn that begins beside a change sees it or comes before it.
 */
import { type Agent, type AgentOverrides, type AgentRef, type ClientTool, withOverrides } from "../contract/agents.ts";
import type { BackendCapabilities } from "../contract/backends.ts";
import { ProblemError } from "../contract/errors.ts";
import type { Fact } from "../contract/events.ts";
import type { SessionId, TurnId } from "../contract/ids.ts";
import type { Metadata, Session } from "../contract/session.ts";
import { pinHandoffs } from "./agents.ts";
import { lostAtChange, withSettingsOf } from "./carried.ts";
import { contentHash } from "./content-hash.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import type { SessionsTable } from "./schema.ts";
import { storedAgent } from "./session-setup.ts";
import { getSession, toSession } from "./sessions.ts";

/** What is changed. Without an agent: the one that the session has, with these overrides. */
export interface Configuration {
  readonly agent?: { readonly ref: AgentRef; readonly profile: Agent };
  readonly overrides?: AgentOverrides;
  readonly clientTools?: readonly ClientTool[];
}

/** What the backends can do of what a conversation may hold, by name: the store knows none of them. */
export type BackendTable = Readonly<Record<string, Pick<BackendCapabilities, "images" | "files" | "settings">>>;

export interface SessionChange {
  readonly configuration: Configuration;
  readonly backends: BackendTable;
  readonly title?: string | null | undefined;
  readonly metadata?: Metadata | undefined;
}

/** Kept while a turn runs, with what is needed when it ends. */
interface Pending {
  readonly configuration: Configuration;
  readonly backends: BackendTable;
}

/**
 * Changes a session. The same change again changes nothing. `applied` is false when the configuration waits for the end of
 * the turn that runs. Throws SESSION_NOT_FOUND or SESSION_CLOSED.
 */
export async function configureSession(
  database: Database,
  sessionId: SessionId,
  change: SessionChange,
): Promise<{ readonly session: Session; readonly applied: boolean }> {
  return await database.write(async (tx) => {
    const row = await rowOf(tx, sessionId);
    if (!row)
      throw new ProblemError("SESSION_NOT_FOUND", `there is no session ${sessionId}; POST /v1/sessions makes one`);
    if (row.closed_at !== null) {
      throw new ProblemError(
        "SESSION_CLOSED",
        `session ${sessionId} is closed and cannot be changed; make a new session`,
      );
    }
    await describe(tx, sessionId, change);
    const applied = await configure(tx, row, change);
    const changed = await rowOf(tx, sessionId);
    if (!changed) throw new Error(`session ${sessionId} vanished in its own transaction`);
    return { session: toSession(changed), applied };
  });
}

async function describe(tx: Tx, sessionId: SessionId, { title, metadata }: SessionChange): Promise<void> {
  if (title === undefined && metadata === undefined) return;
  await tx
    .updateTable("sessions")
    .set({
      updated_at: Date.now(),
      ...(title !== undefined && { title }),
      ...(metadata !== undefined && { metadata: JSON.stringify(metadata) }),
    })
    .where("id", "=", sessionId)
    .execute();
}

async function configure(tx: Tx, row: SessionsTable, change: SessionChange): Promise<boolean> {
  const { configuration, backends } = change;
  if (Object.keys(configuration).length === 0) return true;
  if (await isTurnRunning(tx, row.id)) {
    const before = pendingOf(row)?.configuration ?? {};
    const pending: Pending = { configuration: merged(before, configuration), backends };
    await tx
      .updateTable("sessions")
      .set({ pending_configuration: JSON.stringify(pending) })
      .where("id", "=", row.id)
      .execute();
    return false;
  }
  const next = target(row, configuration, backends);
  if (!isOther(row, next)) return true;
  await append(tx, row.id, [await apply(tx, row, { ...next, backends })]);
  return true;
}

/** Applies what waits for the end of the session's turn. In the transaction that ends the turn, after the turn's row has changed. */
export async function applyPendingConfiguration(tx: Tx, sessionId: SessionId): Promise<Fact[]> {
  const row = await rowOf(tx, sessionId);
  const pending = row && pendingOf(row);
  // Nothing follows session.closed in the log.
  if (!row || !pending || row.closed_at !== null) return [];
  const { configuration, backends } = pending;
  return [await apply(tx, row, { ...target(row, configuration, backends), backends })];
}

export interface AgentChange {
  /** As it is stored; the agents that it may hand over to are pinned here. */
  readonly agent: Agent;
  readonly agentRef: AgentRef;
  /** Set when a turn hands over, which goes on with the other agent. */
  readonly turnId?: TurnId | undefined;
  readonly backends?: BackendTable | undefined;
}

/** Moves the session to a stored agent at once, in the caller's transaction. The session's own overrides were of the agent before. */
export async function changeAgent(tx: Tx, sessionId: SessionId, change: AgentChange): Promise<Fact> {
  const { agentRef, turnId, backends = {} } = change;
  const row = await rowOf(tx, sessionId);
  if (!row) throw new ProblemError("SESSION_NOT_FOUND", `there is no session ${sessionId}`);
  const agent = await pinHandoffs(tx, change.agent);
  return await apply(tx, row, { agent, ref: agentRef, clientTools: clientToolsOf(row), backends, turnId });
}

/** The session as it will run when what waits is applied: what a further change is checked against. */
export async function plannedConfiguration(
  database: Database,
  sessionId: SessionId,
): Promise<{ readonly agent: Agent; readonly clientTools: readonly ClientTool[] }> {
  const row = await rowOf(database.read, sessionId);
  if (!row) return await getSession(database, sessionId); // Which says that there is none.
  const pending = pendingOf(row);
  return target(row, pending?.configuration ?? {}, pending?.backends ?? {});
}

interface Target {
  readonly agent: Agent;
  readonly ref: AgentRef | null;
  readonly clientTools: readonly ClientTool[];
}

function target(row: SessionsTable, configuration: Configuration, backends: BackendTable): Target {
  const before = storedAgent(row.agent);
  const agent = withOverrides(configuration.agent?.profile ?? before, configuration.overrides ?? {});
  return {
    agent: agent.backend === before.backend ? agent : withSettingsOf(agent, backends[agent.backend]),
    ref: configuration.agent?.ref ?? refOf(row),
    clientTools: configuration.clientTools ?? clientToolsOf(row),
  };
}

function isOther(row: SessionsTable, next: Target): boolean {
  const now: Target = { agent: storedAgent(row.agent), ref: refOf(row), clientTools: clientToolsOf(row) };
  return contentHash(now) !== contentHash({ agent: next.agent, ref: next.ref, clientTools: next.clientTools });
}

async function apply(
  tx: Tx,
  row: SessionsTable,
  next: Target & { readonly backends: BackendTable; readonly turnId?: TurnId | undefined },
): Promise<Fact> {
  const { agent, ref, clientTools, turnId, backends } = next;
  const notCarried = await lostAtChange(tx, {
    sessionId: row.id,
    before: storedAgent(row.agent),
    after: agent,
    capabilities: backends[agent.backend],
  });
  await tx
    .updateTable("sessions")
    .set((eb) => ({
      agent: JSON.stringify(agent),
      agent_name: agent.name,
      agent_id: ref?.id ?? null,
      agent_version: ref?.version ?? null,
      client_tools: JSON.stringify(clientTools),
      configuration: eb("configuration", "+", 1),
      // A turn that hands over goes on, and what waits for its end still does.
      ...(turnId === undefined && { pending_configuration: null }),
    }))
    .where("id", "=", row.id)
    .execute();
  return {
    type: "session.updated",
    agent: agent.name,
    agentRef: ref,
    backend: agent.backend,
    model: agent.model ?? null,
    ...(turnId !== undefined && { turnId }),
    notCarried: [...notCarried],
  };
}

/** Two changes of one turn as one, with what both would have brought one after the other. */
function merged(before: Configuration, after: Configuration): Configuration {
  if (after.agent) return { ...(before.clientTools && { clientTools: before.clientTools }), ...after };
  const overrides = mergedOverrides(before.overrides ?? {}, after.overrides ?? {});
  return { ...before, ...after, ...(Object.keys(overrides).length > 0 && { overrides }) };
}

/** As `withOverrides` merges them with an agent: settings, limits and variables one by one, all else whole. */
function mergedOverrides(before: AgentOverrides, after: AgentOverrides): AgentOverrides {
  const both = { ...before, ...after };
  for (const field of ["modelSettings", "limits", "environment"] as const) {
    if (both[field] !== undefined) Object.assign(both, { [field]: { ...before[field], ...after[field] } });
  }
  return both;
}

async function rowOf(reader: Database["read"], sessionId: SessionId): Promise<SessionsTable | undefined> {
  return await reader.selectFrom("sessions").selectAll().where("id", "=", sessionId).executeTakeFirst();
}

async function isTurnRunning(tx: Tx, sessionId: SessionId): Promise<boolean> {
  const turn = await tx
    .selectFrom("turns")
    .select("id")
    .where("session_id", "=", sessionId)
    .where("state", "=", "running")
    .executeTakeFirst();
  return turn !== undefined;
}

/** Rows of ours, written from parsed values. */
function pendingOf(row: SessionsTable): Pending | undefined {
  return row.pending_configuration === null ? undefined : (JSON.parse(row.pending_configuration) as Pending);
}

function clientToolsOf(row: SessionsTable): readonly ClientTool[] {
  return JSON.parse(row.client_tools) as ClientTool[];
}

function refOf(row: SessionsTable): AgentRef | null {
  if (row.agent_id === null || row.agent_version === null) return null;
  return { id: row.agent_id, version: row.agent_version };
}
