/** Sessions in which something should be going on, for whoever asks their workflows whether it does. */
import type { MessageId, SessionId, TurnId } from "../contract/ids.ts";
import type { Database } from "./database.ts";

export interface OpenSession {
  readonly sessionId: SessionId;
  readonly updatedAt: number;
}

/** In the order of their ids: those that run, wait or are to end and whose rows have not moved since, and those whose workflow has not heard that it is to stop. */
export async function openSessions(
  database: Database,
  which: { readonly quietSince: number; readonly after: string; readonly limit: number },
): Promise<readonly OpenSession[]> {
  const rows = await database.read
    .selectFrom("sessions")
    .select(["id", "updated_at"])
    .where((eb) =>
      eb.or([
        eb.and([
          eb("status", "in", ["running", "waiting"]),
          eb.or([eb("updated_at", "<", which.quietSince), eb("id", "in", untold(database))]),
        ]),
        eb.and([eb("ending", "=", "delete"), eb("updated_at", "<", which.quietSince)]),
        eb.and([
          eb("ending", "is not", null),
          eb("closed_at", "is", null),
          eb.or([eb("updated_at", "<", which.quietSince), eb("ending_told", "=", 0)]),
        ]),
      ]),
    )
    .where("id", ">", which.after)
    .orderBy("id")
    .limit(which.limit)
    .execute();
  return rows.map((row) => ({ sessionId: row.id, updatedAt: row.updated_at }) as OpenSession);
}

function untold({ read }: Database) {
  return read.selectFrom("turns").select("session_id").where("state", "=", "running").where("stop", "=", "asked");
}

/** What should be going on in one of them. */
export interface OpenWork {
  readonly updatedAt: number;
  readonly isClosed: boolean;
  readonly ending: "close" | "delete" | undefined;
  readonly incarnation: string;
  readonly turn: { readonly turnId: TurnId; readonly isStopping: boolean } | undefined;
  /** Messages that a workflow is said to have, in their order. */
  readonly submitted: readonly MessageId[];
  /** Calls of the turn that wait for somebody, and those of which a workflow has heard that they do not any more. */
  readonly pendingCalls: readonly string[];
  readonly toldCalls: readonly string[];
}

export async function openWork(database: Database, sessionId: SessionId): Promise<OpenWork | undefined> {
  const { read } = database;
  const session = await read.selectFrom("sessions").selectAll().where("id", "=", sessionId).executeTakeFirst();
  if (!session) return undefined;
  const turn = await read
    .selectFrom("turns")
    .select(["id", "stop"])
    .where("session_id", "=", sessionId)
    .where("state", "=", "running")
    .orderBy("started_at")
    .executeTakeFirst();
  const messages = await read
    .selectFrom("messages")
    .select("id")
    .where("session_id", "=", sessionId)
    .where("state", "=", "submitted")
    .orderBy("position")
    .execute();
  const waits = turn
    ? await read
        .selectFrom("waits")
        .select(["call_id", "state", "delivered"])
        .where("session_id", "=", sessionId)
        .where("turn_id", "=", turn.id)
        .execute()
    : [];
  const pendingCalls = waits.filter(({ state }) => state === "pending").map((wait) => wait.call_id);
  return {
    updatedAt: session.updated_at,
    isClosed: session.closed_at !== null,
    ending: (session.ending ?? undefined) as OpenWork["ending"],
    incarnation: session.incarnation,
    turn: turn && { turnId: turn.id as TurnId, isStopping: turn.stop !== null },
    submitted: messages.map(({ id }) => id as MessageId),
    pendingCalls,
    toldCalls: waits
      .filter((wait) => wait.delivered === 1 && !pendingCalls.includes(wait.call_id))
      .map((wait) => wait.call_id),
  };
}

/** Whether the message of a turn, by the rows, is one that a turn may still begin or run with. */
export async function mayRun(
  database: Database,
  of: { readonly sessionId: SessionId; readonly messageId: MessageId },
): Promise<boolean> {
  const message = await database.read
    .selectFrom("messages")
    .select("state")
    .where("session_id", "=", of.sessionId)
    .where("id", "=", of.messageId)
    .executeTakeFirst();
  return ["received", "submitted", "taken"].includes(message?.state ?? "");
}
