/** The transcript: what the model is shown. Append-only; a call's result has its place kept from the moment the call is made. */
import type { TranscriptMessage } from "../contract/blocks.ts";
import type { SessionId } from "../contract/ids.ts";
import type { Database, Tx } from "./database.ts";
import { StoreError } from "./error.ts";

/** Appends messages and returns the position after them, `reserve` places for results included. */
export async function appendMessages(
  tx: Tx,
  sessionId: SessionId,
  messages: readonly TranscriptMessage[],
  reserve = 0,
): Promise<number> {
  const places = messages.length + reserve;
  const session = await tx
    .updateTable("sessions")
    .set((eb) => ({ next_position: eb("next_position", "+", places) }))
    .where("id", "=", sessionId)
    .returning("next_position")
    .executeTakeFirst();
  if (!session) throw new StoreError("failed", `session ${sessionId} is gone`);
  let position = session.next_position - places;
  for (const message of messages) await placeMessage(tx, sessionId, { position: position++, message });
  return session.next_position;
}

/** Puts a message at a position that was reserved for it. */
export async function placeMessage(
  tx: Tx,
  sessionId: SessionId,
  place: { readonly position: number; readonly message: TranscriptMessage },
): Promise<void> {
  await tx
    .insertInto("transcript")
    .values({
      session_id: sessionId,
      position: place.position,
      role: place.message.role,
      blocks: JSON.stringify(place.message.blocks),
    })
    .execute();
}

export interface PlacedMessage {
  readonly position: number;
  readonly message: TranscriptMessage;
}

/** Messages after a position, oldest first. */
export async function messagesAfter(
  database: Database,
  sessionId: SessionId,
  range: { readonly after: number; readonly limit?: number },
): Promise<readonly PlacedMessage[]> {
  let query = database.read
    .selectFrom("transcript")
    .select(["position", "role", "blocks"])
    .where("session_id", "=", sessionId)
    .where("position", ">", range.after)
    .orderBy("position");
  if (range.limit !== undefined) query = query.limit(range.limit);
  const rows = await query.execute();
  return rows.map((row) => ({
    position: row.position,
    // Rows of ours, written from parsed values: to validate a thousand of them again at every step would be the step's largest cost.
    message: { role: row.role, blocks: JSON.parse(row.blocks) } as TranscriptMessage,
  }));
}

const SESSIONS_MAX = 200;
const BYTES_MAX = 256 * 1024 * 1024;

interface Cached {
  last: number;
  bytes: number;
  messages: TranscriptMessage[];
}

/**
 * Transcripts of the sessions at work in this process. Only a saving: rows never change, so what is cached stays right,
 * and a read asks the database for what came after it.
 */
export class TranscriptCache {
  readonly #database: Database;
  readonly #sessions = new Map<SessionId, Cached>();
  #bytes = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The whole transcript. The same message is the same object in every answer while it is cached. */
  async read(sessionId: SessionId): Promise<readonly TranscriptMessage[]> {
    const cached = this.#sessions.get(sessionId) ?? { last: 0, bytes: 0, messages: [] };
    const fresh = await messagesAfter(this.#database, sessionId, { after: cached.last });
    for (const { position, message } of fresh) {
      cached.messages.push(message);
      cached.last = position;
    }
    const grown = fresh.reduce((sum, { message }) => sum + sizeOf(message), 0);
    cached.bytes += grown;
    this.#bytes += grown;
    this.#sessions.delete(sessionId); // So that the map's order is the order of use.
    this.#sessions.set(sessionId, cached);
    this.#evict();
    return cached.messages.slice();
  }

  forget(sessionId: SessionId): void {
    this.#bytes -= this.#sessions.get(sessionId)?.bytes ?? 0;
    this.#sessions.delete(sessionId);
  }

  #evict(): void {
    for (const sessionId of this.#sessions.keys()) {
      if (this.#sessions.size <= 1 || (this.#sessions.size <= SESSIONS_MAX && this.#bytes <= BYTES_MAX)) return;
      this.forget(sessionId);
    }
  }
}

function sizeOf(message: TranscriptMessage): number {
  let bytes = 100;
  for (const block of message.blocks) {
    if ("text" in block) bytes += block.text.length;
    if (block.type === "tool_call") bytes += 100 + (typeof block.arguments === "string" ? block.arguments.length : 200);
    if ("data" in block && block.data !== undefined) bytes += block.data.length;
  }
  return bytes;
}
