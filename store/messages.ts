/** A user's messages: committed as rows before the workflow hears of them, so that none can vanish. */
import { asBlocks, type Content, type InputBlock } from "../contract/blocks.ts";
import { ProblemError } from "../contract/errors.ts";
import type { MessageMode } from "../contract/events.ts";
import type { QueuedMessage } from "../contract/http.ts";
import type { MessageId, SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { TurnKey } from "../contract/steps.ts";
import { contentHash } from "./content-hash.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import { firstPage, type Page } from "./page-size.ts";

export interface NewMessage {
  readonly sessionId: SessionId;
  readonly id: MessageId;
  readonly turnId: TurnId;
  readonly mode: MessageMode;
  readonly content: Content;
}

/** received: ours alone. submitted: the workflow has it. taken: its turn runs. ended, refused, removed: it is over. */
export type MessageState = "received" | "submitted" | "taken" | "ended" | "refused" | "removed";

export interface ReceivedMessage {
  readonly messageId: MessageId;
  readonly turnId: TurnId;
  readonly mode: MessageMode;
  readonly state: MessageState;
  /** Messages that were not over when it came. */
  readonly position: number;
}

/** Commits a message with `message.received`. The same id with the same content is the same message; with other content a CONFLICT. */
export async function receiveMessage(database: Database, wanted: NewMessage): Promise<ReceivedMessage> {
  const hash = contentHash({ content: wanted.content, mode: wanted.mode });
  const { sessionId, id: messageId, mode } = wanted;
  return await database.write(async (tx) => {
    const session = await tx
      .selectFrom("sessions")
      .select(["closed_at", "ending"])
      .where("id", "=", sessionId)
      .executeTakeFirst();
    if (!session)
      throw new ProblemError("SESSION_NOT_FOUND", `there is no session ${sessionId}; POST /v1/sessions makes one`);
    const repeat = await repeated(tx, wanted, hash);
    if (repeat) return repeat;
    // What is asked to end may take a while to: whatever comes meanwhile would only be refused when it has.
    if (session.closed_at !== null || session.ending !== null) {
      const is = session.closed_at === null ? "is being closed" : "is closed";
      throw new ProblemError("SESSION_CLOSED", `session ${sessionId} ${is} and takes no messages; make a new session`);
    }
    const joins = mode === "steer" && (await count(tx, sessionId, ["taken"])) > 0;
    const position = joins ? 0 : await count(tx, sessionId, ["received", "submitted", "taken"]);
    const waiting = await count(tx, sessionId, ["received", "submitted"]);
    if (waiting >= LIMITS.messagesWaiting) {
      throw new ProblemError(
        "QUEUE_FULL",
        `${waiting} messages wait in session ${sessionId}, the most it takes; wait for a turn to end`,
      );
    }
    await boundRemoved(tx, sessionId);
    const last = await tx
      .selectFrom("messages")
      .select((eb) => eb.fn.max("position").as("position"))
      .where("session_id", "=", sessionId)
      .executeTakeFirst();
    const { turnId } = wanted;
    await tx
      .insertInto("messages")
      .values({
        session_id: sessionId,
        id: messageId,
        position: (last?.position ?? 0) + 1,
        turn_id: turnId,
        mode,
        content: JSON.stringify(wanted.content),
        content_hash: hash,
        state: "received",
        received_at: Date.now(),
      })
      .execute();
    await settleStatus(tx, sessionId);
    await append(tx, sessionId, [
      { type: "message.received", messageId, turnId, mode, content: wanted.content },
      ...(position > 0 && mode !== "interrupt"
        ? [{ type: "message.queued" as const, messageId, turnId, position }]
        : []),
    ]);
    return { messageId, turnId, mode, state: "received", position: mode === "interrupt" ? 0 : position };
  });
}

/** While a turn runs its workflow's history grows by each message that comes and goes again, and cannot begin anew. */
async function boundRemoved(tx: Tx, sessionId: SessionId): Promise<void> {
  const removed = await tx
    .selectFrom("messages")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("session_id", "=", sessionId)
    .where("state", "=", "removed")
    .where("position", ">", (eb) =>
      eb
        .selectFrom("messages as running")
        .select("running.position")
        .where("running.session_id", "=", sessionId)
        .where("running.state", "=", "taken")
        .orderBy("running.position")
        .limit(1),
    )
    .executeTakeFirst();
  const count = Number(removed?.count ?? 0);
  if (count < LIMITS.messagesRemovedPerTurn) return;
  throw new ProblemError(
    "QUEUE_FULL",
    `${count} messages were taken back from session ${sessionId} while its turn runs, the most there may be; wait for the turn to end`,
  );
}

async function repeated(tx: Tx, wanted: NewMessage, hash: string): Promise<ReceivedMessage | undefined> {
  const row = await tx
    .selectFrom("messages")
    .selectAll()
    .where("session_id", "=", wanted.sessionId)
    .where("id", "=", wanted.id)
    .executeTakeFirst();
  if (!row) return undefined;
  if (row.content_hash !== hash) {
    throw new ProblemError("CONFLICT", `message ${wanted.id} exists with other content or another mode; use a new id`);
  }
  const ahead = await tx
    .selectFrom("messages")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("session_id", "=", wanted.sessionId)
    .where("position", "<", row.position)
    .where("state", "in", ["received", "submitted", "taken"])
    .executeTakeFirst();
  const joins = row.mode === "steer" && (await count(tx, wanted.sessionId, ["taken"])) > 0;
  const isNow = joins || row.mode === "interrupt" || !["received", "submitted"].includes(row.state);
  return {
    messageId: row.id,
    turnId: row.turn_id as TurnId,
    mode: row.mode as MessageMode,
    state: row.state as MessageState,
    position: isNow ? 0 : Number(ahead?.count ?? 0),
  };
}

async function count(tx: Tx, sessionId: SessionId, states: readonly MessageState[]): Promise<number> {
  const counted = await tx
    .selectFrom("messages")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("session_id", "=", sessionId)
    .where("state", "in", [...states])
    .executeTakeFirst();
  return Number(counted?.count ?? 0);
}

/**
 * The status of a session between turns: idle when no message waits, and running when one does, for it has been accepted
 * and is to be answered. Whoever asks right then must not take it for done. While a turn runs, the turn says what it is.
 */
export async function settleStatus(tx: Tx, sessionId: SessionId): Promise<void> {
  const open = await tx
    .selectFrom("messages")
    .select("state")
    .distinct()
    .where("session_id", "=", sessionId)
    .where("state", "in", ["received", "submitted", "taken"])
    .execute();
  if (open.some(({ state }) => state === "taken")) return;
  await tx
    .updateTable("sessions")
    .set({ status: open.length > 0 ? "running" : "idle" })
    .where("id", "=", sessionId)
    .where("closed_at", "is", null)
    .execute();
}

/** Notes that the workflow has taken the message into its queue. */
export async function markSubmitted(database: Database, sessionId: SessionId, messageId: MessageId): Promise<void> {
  await database.write(async (tx) => {
    await tx
      .updateTable("messages")
      .set({ state: "submitted" })
      .where("session_id", "=", sessionId)
      .where("id", "=", messageId)
      .where("state", "=", "received")
      .execute();
  });
}

/** Notes that the workflow would not take the message, and says so in the log. */
export async function markRefused(
  database: Database,
  ids: { sessionId: SessionId; messageId: MessageId },
  message: string,
): Promise<void> {
  await database.write(async (tx) => {
    const refused = await tx
      .updateTable("messages")
      .set({ state: "refused" })
      .where("session_id", "=", ids.sessionId)
      .where("id", "=", ids.messageId)
      .where("state", "in", ["received", "submitted"])
      .returning("id")
      .executeTakeFirst();
    if (!refused) return;
    await settleStatus(tx, ids.sessionId);
    await append(tx, ids.sessionId, [{ type: "message.refused", messageId: ids.messageId, message }]);
  });
}

/** Sessions with messages that were committed before `before` and that no workflow is known to have, in the order of their ids. */
export async function undeliveredSessions(
  database: Database,
  which: { readonly before: number; readonly after: string; readonly limit: number },
): Promise<readonly SessionId[]> {
  const rows = await database.read
    .selectFrom("messages")
    .select("session_id")
    .distinct()
    .where("state", "=", "received")
    .where("received_at", "<", which.before)
    .where("session_id", ">", which.after)
    .orderBy("session_id")
    .limit(which.limit)
    .execute();
  return rows.map((row) => row.session_id);
}

/**
 * Takes a message into a running turn, and returns what it says; undefined when it has joined before, or was taken back.
 */
export async function steerMessage(
  tx: Tx,
  turn: TurnKey,
  messageId: MessageId,
): Promise<readonly InputBlock[] | undefined> {
  const message = await tx
    .updateTable("messages")
    .set({ state: "taken", turn_id: turn.turnId })
    .where("session_id", "=", turn.sessionId)
    .where("id", "=", messageId)
    .where("state", "in", ["received", "submitted"])
    .returning("content")
    .executeTakeFirst();
  return message && asBlocks(JSON.parse(message.content) as Content);
}

/**
 * Takes a message back that has not begun. Again: nothing. The store decides: a turn that begins after this finds its
 * message removed, and is none. Throws NOT_FOUND, or CONFLICT when it has begun. Answers whether the workflow is to hear of it.
 */
export async function removeMessage(database: Database, sessionId: SessionId, messageId: MessageId): Promise<boolean> {
  return await database.write(async (tx) => {
    const message = await tx
      .selectFrom("messages")
      .select("state")
      .where("session_id", "=", sessionId)
      .where("id", "=", messageId)
      .executeTakeFirst();
    if (!message) throw new ProblemError("NOT_FOUND", `there is no message ${messageId} in session ${sessionId}`);
    if (["removed", "refused"].includes(message.state)) return false;
    if (!["received", "submitted"].includes(message.state)) {
      const how = message.state === "taken" ? "its turn runs; interrupt it instead" : "its turn has ended";
      throw new ProblemError("CONFLICT", `message ${messageId} has begun and cannot be taken back: ${how}`);
    }
    await tx
      .updateTable("messages")
      .set({ state: "removed" })
      .where("session_id", "=", sessionId)
      .where("id", "=", messageId)
      .execute();
    await settleStatus(tx, sessionId);
    await append(tx, sessionId, [{ type: "message.removed", messageId }]);
    return true;
  });
}

const SHOWN_STATES: Readonly<Record<MessageState, QueuedMessage["state"]>> = {
  received: "waiting",
  submitted: "waiting",
  taken: "running",
  ended: "ended",
  refused: "refused",
  removed: "removed",
};

/** Messages of a session in the order of their arrival. */
export async function listMessages(
  database: Database,
  sessionId: SessionId,
  range: {
    readonly after: number;
    readonly limit: number;
    readonly state?: QueuedMessage["state"] | undefined;
  },
): Promise<Page<{ readonly position: number; readonly message: QueuedMessage }>> {
  let query = database.read
    .selectFrom("messages")
    .selectAll()
    .where("session_id", "=", sessionId)
    .where("position", ">", range.after)
    .orderBy("position");
  if (range.state !== undefined) {
    const states = Object.entries(SHOWN_STATES).filter(([, shown]) => shown === range.state);
    query = query.where(
      "state",
      "in",
      states.map(([state]) => state),
    );
  }
  const { rows, hasMore } = await firstPage(query, { large: "content", limit: range.limit });
  const messages = rows.map((row) => ({
    position: row.position,
    message: {
      messageId: row.id,
      turnId: row.turn_id as TurnId,
      mode: row.mode as MessageMode,
      content: JSON.parse(row.content) as Content,
      state: SHOWN_STATES[row.state as MessageState],
      receivedAt: row.received_at,
    },
  }));
  return { rows: messages, hasMore };
}
