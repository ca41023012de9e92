/**
 * What is to end, committed before any workflow hears of it: turns that were interrupted, sessions that are to be closed or
 * deleted. Each is noted as told once its workflow has heard of it, so that who asks again costs the workflow no history.
 */
import type { SessionId, TurnId } from "../contract/ids.ts";
import type { Database, Tx } from "./database.ts";

/** asked: its workflow is to be told. told: it was. nothing: there is no such thing to end. */
export type Asked = "asked" | "told" | "nothing";

export type AskedStop =
  | { readonly asked: "asked" | "told"; readonly turnId: TurnId }
  | { readonly asked: "nothing"; readonly turnId?: undefined };

/** Notes that the running turn, or this one if it is the one that runs, is to stop. */
export async function askTurnStop(database: Database, sessionId: SessionId, turnId?: TurnId): Promise<AskedStop> {
  return await database.write(async (tx) => {
    let running = tx
      .selectFrom("turns")
      .select(["id", "stop"])
      .where("session_id", "=", sessionId)
      .where("state", "=", "running");
    if (turnId !== undefined) running = running.where("id", "=", turnId);
    const turn = await running.executeTakeFirst();
    if (!turn) return { asked: "nothing" };
    const found = { turnId: turn.id as TurnId };
    if (turn.stop === "told") return { asked: "told", ...found };
    await tx.updateTable("turns").set({ stop: "asked" }).where("id", "=", turn.id).execute();
    return { asked: "asked", ...found };
  });
}

/** Whether the message of a turn waits for it to begin. */
export async function isWaiting(database: Database, sessionId: SessionId, turnId: TurnId): Promise<boolean> {
  const message = await database.read
    .selectFrom("messages")
    .select("id")
    .where("session_id", "=", sessionId)
    .where("turn_id", "=", turnId)
    .where("state", "in", ["received", "submitted"])
    .executeTakeFirst();
  return message !== undefined;
}

export async function markTurnStopTold(database: Database, turnId: TurnId): Promise<void> {
  await database.write(async (tx) => {
    await tx.updateTable("turns").set({ stop: "told" }).where("id", "=", turnId).where("stop", "=", "asked").execute();
  });
}

interface Ending {
  readonly sessionId: SessionId;
  /** Of all sessions that have had this id one after another; left out for any. */
  readonly incarnation?: string | undefined;
}

/** Notes that the session is to be closed, or deleted. What is to be deleted stays so. */
export async function askSessionEnd(database: Database, of: Ending, ending: "close" | "delete"): Promise<Asked> {
  return await database.write(async (tx) => {
    let found = tx.selectFrom("sessions").select(["ending", "ending_told"]).where("id", "=", of.sessionId);
    if (of.incarnation !== undefined) found = found.where("incarnation", "=", of.incarnation);
    const session = await found.executeTakeFirst();
    if (!session) return "nothing";
    if (session.ending === null || (ending === "delete" && session.ending !== "delete"))
      await tx.updateTable("sessions").set({ ending }).where("id", "=", of.sessionId).execute();
    return session.ending_told === 1 ? "told" : "asked";
  });
}

/** Whether somebody has asked for the session to be closed or deleted. */
export async function isToEnd(tx: Tx, sessionId: SessionId): Promise<boolean> {
  const session = await tx.selectFrom("sessions").select("ending").where("id", "=", sessionId).executeTakeFirst();
  return session !== undefined && session.ending !== null;
}

export async function markSessionEndTold(database: Database, of: Ending): Promise<void> {
  await database.write(async (tx) => {
    let told = tx.updateTable("sessions").set({ ending_told: 1 }).where("id", "=", of.sessionId);
    if (of.incarnation !== undefined) told = told.where("incarnation", "=", of.incarnation);
    await told.execute();
  });
}
