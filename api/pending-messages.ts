/** Messages of one session that its workflow is not known to have, in the order of their rows. */
import type { MessageMode } from "../contract/events.ts";
import type { SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SubmitMessage } from "../contract/session.ts";
import type { Database } from "../store/database.ts";

export async function pendingMessages(database: Database, sessionId: SessionId): Promise<readonly SubmitMessage[]> {
  const rows = await database.read
    .selectFrom("messages")
    .select(["id", "turn_id", "mode"])
    .where("session_id", "=", sessionId)
    .where("state", "=", "received")
    .orderBy("position")
    .limit(LIMITS.messagesWaiting)
    .execute();
  return rows.map((row) => ({
    messageId: row.id,
    turnId: row.turn_id as TurnId,
    mode: row.mode as MessageMode,
  }));
}
