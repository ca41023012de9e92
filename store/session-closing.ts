/** The close of a session, with what still ran and waited in it. */
import type { SessionId } from "../contract/ids.ts";
import { openCommands } from "./commands.ts";
import type { Database } from "./database.ts";
import { append } from "./event-log.ts";
import { isToEnd } from "./stops.ts";
import { endRunningTurn } from "./turns.ts";

/** Sets the status and says `session.closed`, once. `incarnation`: only of that one of the sessions that had this id. */
export async function closeSession(database: Database, id: SessionId, incarnation?: string): Promise<void> {
  await database.write(async (tx) => {
    let closing = tx.updateTable("sessions").set({ status: "closed", closed_at: Date.now() }).where("id", "=", id);
    if (incarnation !== undefined) closing = closing.where("incarnation", "=", incarnation);
    const closed = await closing.where("closed_at", "is", null).returning("id").executeTakeFirst();
    if (!closed) return;
    const waiting = await tx
      .updateTable("messages")
      .set({ state: "refused" })
      .where("session_id", "=", id)
      .where("state", "in", ["received", "submitted"])
      .returning("id")
      .execute();
    await append(tx, id, [
      ...(await endRunningTurn(tx, id)),
      ...waiting.map((row) => ({
        type: "message.refused" as const,
        messageId: row.id,
        message: "the session was closed before its turn",
      })),
      ...(await openCommands(tx, id)),
      { type: "session.closed" as const },
    ]);
  });
}

/** Whether the session is open, and nobody has asked for it to be closed. */
export async function isWanted(database: Database, id: SessionId): Promise<boolean> {
  return await database.write(async (tx) => {
    const session = await tx.selectFrom("sessions").select("closed_at").where("id", "=", id).executeTakeFirst();
    return session?.closed_at === null && !(await isToEnd(tx, id));
  });
}
