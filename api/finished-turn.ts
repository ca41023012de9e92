/** How a turn ended, from its row and its last event; and waiting until it has. */
import type { Turn } from "../contract/http.ts";
import type { SessionId, TurnId } from "../contract/ids.ts";
import { TurnOutcome } from "../contract/session.ts";
import type { Database } from "../store/database.ts";
import { parseEvent } from "../store/event-log.ts";
import type { EventTail, TailedEvent } from "../store/tail.ts";
import { usageOf } from "../store/turns.ts";

/** The turn, or undefined when it has not ended. */
export async function finishedTurn(
  database: Database,
  sessionId: SessionId,
  turnId: TurnId,
): Promise<Turn | undefined> {
  const row = await database.read
    .selectFrom("turns")
    .selectAll()
    .where("id", "=", turnId)
    .where("session_id", "=", sessionId)
    .executeTakeFirst();
  const outcome = TurnOutcome.safeParse(row?.state);
  if (!row || !outcome.success) return undefined;
  return {
    turnId,
    messageId: row.message_id,
    outcome: outcome.data,
    output: row.output ?? "",
    ...(row.structured_output !== null && { structuredOutput: JSON.parse(row.structured_output) as unknown }),
    ...(outcome.data === "failed" && (await failureOf(database, sessionId, turnId))),
    usage: usageOf(row),
    steps: row.steps,
    durationMs: Math.max(0, (row.ended_at ?? row.started_at) - row.started_at),
  };
}

/** Why a turn failed is said by its event alone. */
async function failureOf(
  database: Database,
  sessionId: SessionId,
  turnId: TurnId,
): Promise<Pick<Turn, "code" | "message" | "retryable">> {
  const row = await database.read
    .selectFrom("events")
    .select(["seq", "at", "fact"])
    .where("session_id", "=", sessionId)
    .where("fact", "like", `{"type":"turn.failed","turnId":"${turnId}"%`)
    .orderBy("seq", "desc")
    .limit(1)
    .executeTakeFirst();
  const event = row && parseEvent(row);
  if (event?.type !== "turn.failed") return {};
  return { code: event.code, message: event.message, retryable: event.retryable };
}

const ENDING =
  /^\{"seq":\d+,"at":\d+,"type":"(turn\.(completed|failed|interrupted)|message\.(refused|removed)|session\.closed)"/;

/** Resolves when the log says after `after` that the turn ended, or can no more come about, or when the signal aborts. */
export async function turnOver(
  tail: EventTail,
  of: { readonly sessionId: SessionId; readonly turnId: TurnId; readonly messageId: string; readonly after: number },
  signal: AbortSignal,
): Promise<void> {
  using log = tail.open(of.sessionId);
  let seq = of.after;
  let hasWaited = false;
  while (!signal.aborted) {
    const events = await log.after(seq);
    if (events.some((event) => endsTurn(event, of))) return;
    seq = events.at(-1)?.seq ?? seq;
    if (events.length > 0) hasWaited = false;
    else if (hasWaited)
      return; // Told of more and then found nothing: the session was purged.
    else {
      await log.changed(seq, signal);
      hasWaited = true;
    }
  }
}

function endsTurn(event: TailedEvent, of: { readonly turnId: TurnId; readonly messageId: string }): boolean {
  const [, type] = ENDING.exec(event.json) ?? [];
  if (type === undefined) return false;
  if (type === "session.closed") return true;
  return event.json.includes(`"turnId":"${of.turnId}"`) || event.json.includes(`"messageId":"${of.messageId}"`);
}
