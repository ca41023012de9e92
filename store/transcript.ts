/** The transcript: what the model is shown. Append-only; a call's result has its place kept from the moment the call is made. */
import type { TranscriptMessage } from "../contract/blocks.ts";
import type { SessionId } from "../contract/ids.ts";
import type { Database, Tx } from "./database.ts";
import { StoreError } from "./error.ts";
import { firstPage, type Page } from "./page-size.ts";
import type { TranscriptTable } from "./schema.ts";

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
      interrupted: place.message.interrupted ? 1 : 0,
    })
    .execute();
}

export interface PlacedMessage {
  readonly position: number;
  readonly message: TranscriptMessage;
}

/** All messages after a position, oldest first. */
export async function messagesAfter(
  database: Database,
  sessionId: SessionId,
  { after }: { readonly after: number },
): Promise<readonly PlacedMessage[]> {
  return (await rowsAfter(database, sessionId, after).execute()).map(toPlaced);
}

/** The first of them: as many as one answer should have. */
export async function messagesPage(
  database: Database,
  sessionId: SessionId,
  { after, limit }: { readonly after: number; readonly limit: number },
): Promise<Page<PlacedMessage>> {
  const { rows, hasMore } = await firstPage(rowsAfter(database, sessionId, after), { large: "blocks", limit });
  return { rows: rows.map(toPlaced), hasMore };
}

function rowsAfter(database: Database, sessionId: SessionId, after: number) {
  return database.read
    .selectFrom("transcript")
    .select(["position", "role", "blocks", "interrupted"])
    .where("session_id", "=", sessionId)
    .where("position", ">", after)
    .orderBy("position");
}

function toPlaced(row: Pick<TranscriptTable, "position" | "role" | "blocks" | "interrupted">): PlacedMessage {
  return {
    position: row.position,
    // Rows of ours, written from parsed values: to validate a thousand of them again at every step would be the step's largest cost.
    message: {
      role: row.role,
      blocks: JSON.parse(row.blocks),
      ...(row.interrupted === 1 && { interrupted: true }),
    } as TranscriptMessage,
  };
}

const SESSIONS_MAX = 200;
const BYTES_MAX = 256 * 1024 * 1024;

interface Cached {
  /** Tells a session from one that was made under the same id after a purge. */
  readonly createdAt: number;
  /** Position of the last message kept. Those before it are all here: what lies behind a free place is not kept. */
  last: number;
  bytes: number;
  readonly messages: TranscriptMessage[];
}

/**
 * Transcripts of the sessions at work in this process. Only a saving: rows never change, so what is cached stays right,
 * and a read asks the database for what came after it.
 */
export class TranscriptCache {
  readonly #database: Database;
  readonly #bytesMax: number;
  readonly #sessions = new Map<SessionId, Cached>();
  #bytes = 0;

  constructor(database: Database, bytesMax: number = BYTES_MAX) {
    this.#database = database;
    this.#bytesMax = bytesMax;
  }

  /** The whole transcript. The same message is the same object in every answer while it is cached. */
  async read(sessionId: SessionId): Promise<readonly TranscriptMessage[]> {
    const session = await this.#database.read
      .selectFrom("sessions")
      .select("created_at")
      .where("id", "=", sessionId)
      .executeTakeFirst();
    if (!session) return [];
    const cached = this.#use(sessionId, session.created_at);
    const rest: TranscriptMessage[] = [];
    for (const { position, message } of await messagesAfter(this.#database, sessionId, { after: cached.last })) {
      if (position <= cached.last) continue; // A read beside this one has kept it meanwhile.
      // A result may still come into a place before this one: an attempt that was overtaken reads while calls run.
      if (position > cached.last + 1) rest.push(message);
      else this.#keep(sessionId, cached, { position, message });
    }
    this.#evict();
    return [...cached.messages, ...rest];
  }

  forget(sessionId: SessionId): void {
    this.#bytes -= this.#sessions.get(sessionId)?.bytes ?? 0;
    this.#sessions.delete(sessionId);
  }

  /** What is kept of the session, moved to the end, so that the map's order is the order of use. */
  #use(sessionId: SessionId, createdAt: number): Cached {
    const found = this.#sessions.get(sessionId);
    if (found?.createdAt !== createdAt) this.forget(sessionId);
    const cached = found?.createdAt === createdAt ? found : { createdAt, last: 0, bytes: 0, messages: [] };
    this.#sessions.delete(sessionId);
    this.#sessions.set(sessionId, cached);
    return cached;
  }

  #keep(sessionId: SessionId, cached: Cached, { position, message }: PlacedMessage): void {
    const bytes = sizeOf(message);
    cached.messages.push(message);
    cached.last = position;
    cached.bytes += bytes;
    if (this.#sessions.get(sessionId) === cached) this.#bytes += bytes; // Else it was forgotten meanwhile.
  }

  #evict(): void {
    for (const sessionId of this.#sessions.keys()) {
      if (this.#sessions.size <= 1 || (this.#sessions.size <= SESSIONS_MAX && this.#bytes <= this.#bytesMax)) return;
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
