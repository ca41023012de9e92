/** Remembered decisions: made with the decision itself, looked up by the tool's exact name, revoked but never removed. */
import { type CallId, type GrantId, newId, type SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { ArgumentPatterns } from "../contract/policy.ts";
import type { Grant } from "../contract/waits.ts";
import { contentHash } from "./content-hash.ts";
import type { Database, Tx } from "./database.ts";
import { isOlder } from "./newest-first.ts";
import type { GrantsTable } from "./schema.ts";

export type NewGrant = Omit<Grant, "id" | "createdAt" | "revokedAt">;

/**
 * Remembers a decision in the caller's transaction. What is remembered already keeps its id, so that revoking it once is
 * enough; the opposite for the very same calls is revoked, because the last word counts.
 */
export async function makeGrant(tx: Tx, wanted: NewGrant): Promise<GrantId> {
  const now = Date.now();
  const match = wanted.match && JSON.stringify(wanted.match);
  const same = (await ofTool(tx, wanted)).filter((grant) => isForSameCalls(grant, wanted));
  const kept = same.find((grant) => grant.action === wanted.action);
  const opposite = same.filter((grant) => grant.action !== wanted.action).map((grant) => grant.id);
  if (opposite.length > 0) {
    await tx.updateTable("grants").set({ revoked_at: now }).where("id", "in", opposite).execute();
  }
  if (kept) return kept.id as GrantId;
  const row: GrantsTable = {
    id: newId("grant"),
    scope: wanted.scope,
    session_id: wanted.sessionId,
    project: wanted.project,
    tool: wanted.tool,
    action: wanted.action,
    match,
    arguments_hash: wanted.argumentsHash,
    reason: wanted.reason,
    call_id: wanted.callId,
    created_at: now,
    revoked_at: null,
  };
  await tx.insertInto("grants").values(row).execute();
  return row.id as GrantId;
}

async function ofTool(tx: Tx, { tool, scope }: NewGrant): Promise<readonly GrantsTable[]> {
  return await tx
    .selectFrom("grants")
    .selectAll()
    .where("tool", "=", tool)
    .where("scope", "=", scope)
    .where("revoked_at", "is", null)
    .execute();
}

function isForSameCalls(grant: GrantsTable, wanted: NewGrant): boolean {
  const isHere = grant.session_id === wanted.sessionId && grant.project === wanted.project;
  const patterns = grant.match === null ? null : contentHash(JSON.parse(grant.match));
  const wantedPatterns = wanted.match && contentHash(wanted.match);
  return isHere && grant.arguments_hash === wanted.argumentsHash && patterns === wantedPatterns;
}

/** What is remembered for calls of this tool in this session: denials first, then the newest first. The first that matches counts. */
export async function activeGrants(
  database: Database,
  of: { readonly sessionId: SessionId; readonly project: string | null; readonly tool: string },
): Promise<readonly Grant[]> {
  const rows = await database.read
    .selectFrom("grants")
    .selectAll()
    .where("tool", "=", of.tool)
    .where("revoked_at", "is", null)
    .where((eb) =>
      eb.or([
        eb("scope", "=", "always"),
        eb.and([eb("scope", "=", "session"), eb("session_id", "=", of.sessionId)]),
        ...(of.project === null ? [] : [eb.and([eb("scope", "=", "project"), eb("project", "=", of.project)])]),
      ]),
    )
    .orderBy("action", "desc") // deny, allow.
    .orderBy("created_at", "desc")
    .orderBy("id", "desc")
    .limit(LIMITS.grantsPerTool)
    .execute();
  return rows.map(toGrant);
}

export interface GrantFilter {
  readonly scope?: Grant["scope"] | undefined;
  readonly sessionId?: SessionId | undefined;
  readonly tool?: string | undefined;
  readonly revoked: boolean;
  readonly after?: { readonly createdAt: number; readonly id: string } | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listGrants(database: Database, filter: GrantFilter): Promise<readonly Grant[]> {
  const { scope, sessionId, tool, revoked, after } = filter;
  let query = database.read.selectFrom("grants").selectAll();
  query = query.where("revoked_at", revoked ? "is not" : "is", null);
  if (scope !== undefined) query = query.where("scope", "=", scope);
  if (sessionId !== undefined) query = query.where("session_id", "=", sessionId);
  if (tool !== undefined) query = query.where("tool", "=", tool);
  if (after) query = query.where(isOlder(after));
  const rows = await query.orderBy("created_at", "desc").orderBy("id", "desc").limit(filter.limit).execute();
  return rows.map(toGrant);
}

/** From now on it decides nothing. False when there is no such grant; one that is revoked stays as it is. */
export async function revokeGrant(database: Database, id: GrantId): Promise<boolean> {
  return await database.write(async (tx) => {
    const found = await tx.selectFrom("grants").select("revoked_at").where("id", "=", id).executeTakeFirst();
    if (found?.revoked_at === null) {
      await tx.updateTable("grants").set({ revoked_at: Date.now() }).where("id", "=", id).execute();
    }
    return found !== undefined;
  });
}

/** A row of ours, written from a typed value. */
function toGrant(row: GrantsTable): Grant {
  return {
    id: row.id as GrantId,
    scope: row.scope as Grant["scope"],
    sessionId: row.session_id,
    project: row.project,
    tool: row.tool,
    action: row.action as Grant["action"],
    match: row.match === null ? null : (JSON.parse(row.match) as ArgumentPatterns),
    argumentsHash: row.arguments_hash,
    reason: row.reason,
    callId: row.call_id as CallId,
    createdAt: row.created_at,
    revokedAt: row.revoked_at,
  };
}
