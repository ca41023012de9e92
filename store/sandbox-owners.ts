/** Which sandboxes belong to a session, and which hosts live: what the sweeper goes by. */
import type { CallId, SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Database } from "./database.ts";

/** Whether an open session has that sandbox, or is making it. */
export async function ownsSandbox(database: Database, id: SandboxId): Promise<boolean> {
  const row = await database.read
    .selectFrom("sandboxes")
    .innerJoin("sessions", "sessions.id", "sandboxes.session_id")
    .select("sandboxes.id")
    .where("sandboxes.id", "=", id)
    .where("sandboxes.state", "in", ["starting", "ready"])
    .where("sessions.closed_at", "is", null)
    .executeTakeFirst();
  return row !== undefined;
}

/** Whether the result of a call, or of a caller's command, is committed; undefined when there is none of that id. */
export async function isCallCommitted(database: Database, id: CallId): Promise<boolean | undefined> {
  for (const table of ["tool_calls", "commands"] as const) {
    const row = await database.read.selectFrom(table).select("state").where("id", "=", id).executeTakeFirst();
    if (row) return row.state === "done";
  }
  return undefined;
}

/** Hosts whose workers were heard of lately. */
export async function liveHosts(database: Database): Promise<readonly string[]> {
  const rows = await database.read
    .selectFrom("hosts")
    .select("host")
    .where("seen_at", ">", Date.now() - LIMITS.hostGoneMs)
    .orderBy("host")
    .execute();
  return rows.map(({ host }) => host);
}

/** The hosts that sandboxes which may be there were made on. */
export async function sandboxHosts(database: Database): Promise<readonly string[]> {
  const rows = await database.read
    .selectFrom("sandboxes")
    .select("host")
    .distinct()
    .where("state", "in", ["starting", "ready"])
    .where("host", "<>", "")
    .execute();
  return rows.map(({ host }) => host);
}
