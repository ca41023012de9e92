/** Since when nobody has used a session's sandbox: by its own row, and by what else of the session was at work in it. */
import { type Kysely, type RawBuilder, type SqlBool, sql } from "kysely";
import type { SandboxId, SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxSpec } from "../contract/sandbox.ts";
import type { Database } from "./database.ts";
import type { Schema } from "./schema.ts";

export interface UsedSandbox {
  readonly sandboxId: SandboxId;
  readonly spec: SandboxSpec;
  readonly usedAt: number;
}

/** What it may idle. */
export function idleMsOf({ spec }: UsedSandbox): number {
  return spec.idleTimeoutMs ?? LIMITS.sandboxIdleMs.default;
}

/**
 * Takes note of a use, now and then. One that comes when the sandbox may be taken for idle is always noted: whoever is just
 * stopping it sees that somebody came, or (false) it was stopped before.
 */
export async function noteUse(database: Database, used: UsedSandbox): Promise<boolean> {
  const now = Date.now();
  if (now - used.usedAt < Math.min(LIMITS.sandboxUseNotedMs, idleMsOf(used) / 2)) return true;
  const { numUpdatedRows } = await database.write((tx) =>
    tx
      .updateTable("sandboxes")
      .set({ used_at: now })
      .where("id", "=", used.sandboxId)
      .where("state", "=", "ready")
      .executeTakeFirst(),
  );
  return numUpdatedRows > 0n;
}

/** undefined while a turn, a caller's command or a terminal of the session is at work; else when the last of them ended, 0 when none ever was. */
export async function restsSince(from: Kysely<Schema>, sessionId: SessionId): Promise<number | undefined> {
  const row = await from
    .selectNoFrom([isAtWork(sql`${sessionId}`).as("at_work"), lastWork(sql`${sessionId}`).as("since")])
    .executeTakeFirstOrThrow();
  return Number(row.at_work) === 0 ? Number(row.since) : undefined;
}

/** As parts of a statement, for the session of that id. */
export function isAtWork(id: RawBuilder<unknown>): RawBuilder<SqlBool> {
  // A terminal that nobody serves any more is none, whatever its row says.
  return sql<SqlBool>`(
    exists (select 1 from turns where session_id = ${id} and state = 'running')
    or exists (select 1 from commands where session_id = ${id} and state <> 'done')
    or exists (select 1 from terminals
      where session_id = ${id} and state <> 'closed' and served_at > ${Date.now() - LIMITS.terminalLostMs})
  )`;
}

export function lastWork(id: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`(select coalesce(max(at), 0) from (
    select max(ended_at) as at from turns where session_id = ${id}
    union all select max(ended_at) from commands where session_id = ${id}
    union all select max(served_at) from terminals where session_id = ${id}
  ) as work)`;
}
