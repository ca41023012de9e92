/** How far what a sandbox's commands wanted to reach is in the log: the facts and the place they were read to, together. */
import type { SandboxId, SessionId } from "../contract/ids.ts";
import type { Database } from "./database.ts";
import { append } from "./event-log.ts";

export interface DecidedConnection {
  readonly host: string;
  readonly port: number;
  readonly decision: "allow" | "deny";
  readonly reason: string;
}

/** Where the next reading of the sandbox's decisions begins; undefined when there is no such sandbox. */
export async function networkOffset(
  database: Database,
  sessionId: SessionId,
  sandboxId: SandboxId,
): Promise<number | undefined> {
  const row = await database.read
    .selectFrom("sandboxes")
    .select("network_offset")
    .where("session_id", "=", sessionId)
    .where("id", "=", sandboxId)
    .executeTakeFirst();
  return row?.network_offset;
}

export interface ReadDecisions {
  readonly sandboxId: SandboxId;
  /** What they were read from, and up to. */
  readonly from: number;
  readonly next: number;
  readonly decisions: readonly DecidedConnection[];
}

/** Puts them into the log, unless somebody else has done so since they were read: then false, and nothing is changed. */
export async function appendDecisions(database: Database, sessionId: SessionId, read: ReadDecisions): Promise<boolean> {
  const { sandboxId, from, next, decisions } = read;
  return await database.write(async (tx) => {
    const moved = await tx
      .updateTable("sandboxes")
      .set({ network_offset: next })
      .where("session_id", "=", sessionId)
      .where("id", "=", sandboxId)
      .where("network_offset", "=", from)
      .returning("id")
      .executeTakeFirst();
    if (!moved) return false;
    const facts = decisions.map(({ host, port, decision, reason }) => {
      return { type: "network.decided" as const, sandboxId, host, port, decision, reason };
    });
    if (facts.length > 0) await append(tx, sessionId, facts);
    return true;
  });
}
