/**
 * The event log: append-only, 1, 2, 3 … per session. `append` is its only writer.
 *
 * Rows keep the fact as the JSON text that clients get, so that a reader with 300 watchers parses nothing.
 */

import { wellFormedJson } from "../contract/cut-text.ts";
import { Fact, type SessionEvent } from "../contract/events.ts";
import type { SessionId } from "../contract/ids.ts";
import type { Database, Tx } from "./database.ts";
import { StoreError } from "./error.ts";
import { firstPage } from "./page-size.ts";

/** An event as it is stored: `fact` is JSON text of an object. */
export interface EventRow {
  readonly seq: number;
  readonly at: number;
  readonly fact: string;
}

const ROWS_PER_INSERT = 100;

/**
 * Appends facts in order, in the caller's transaction, and returns the seq of the last one. The numbers come from the
 * session's own row, which the transaction holds from here on: so they have no gap and no duplicate, whoever writes.
 * Nothing follows `session.closed`: what is still said of a closed session, such as by a snapshot that was under way, is dropped.
 */
export async function append(tx: Tx, sessionId: SessionId, facts: readonly Fact[]): Promise<number> {
  const at = Date.now();
  let counting = tx
    .updateTable("sessions")
    .set((eb) => ({ last_seq: eb("last_seq", "+", facts.length), updated_at: at }))
    .where("id", "=", sessionId);
  if (!facts.some(({ type }) => type === "session.closed")) counting = counting.where("closed_at", "is", null);
  const session = await counting.returning("last_seq").executeTakeFirst();
  if (!session) return await lastOfClosed(tx, sessionId);
  let seq = session.last_seq - facts.length;
  const rows = facts.map((fact) => ({ session_id: sessionId, seq: ++seq, at, fact: wellFormedJson(fact) }));
  for (let start = 0; start < rows.length; start += ROWS_PER_INSERT) {
    await tx
      .insertInto("events")
      .values(rows.slice(start, start + ROWS_PER_INSERT))
      .execute();
  }
  return session.last_seq;
}

async function lastOfClosed(tx: Tx, sessionId: SessionId): Promise<number> {
  const session = await tx.selectFrom("sessions").select("last_seq").where("id", "=", sessionId).executeTakeFirst();
  if (!session) throw new StoreError("failed", `session ${sessionId} is gone`);
  return session.last_seq;
}

/** Events after a seq, oldest first. */
export async function eventsAfter(
  database: Database,
  sessionId: SessionId,
  range: { readonly after: number; readonly limit: number },
): Promise<readonly EventRow[]> {
  return await database.read
    .selectFrom("events")
    .select(["seq", "at", "fact"])
    .where("session_id", "=", sessionId)
    .where("seq", ">", range.after)
    .orderBy("seq")
    .limit(range.limit)
    .execute();
}

/** The first of them: as many as one answer should have. */
export async function eventsPage(
  database: Database,
  sessionId: SessionId,
  range: { readonly after: number; readonly limit: number },
): Promise<readonly EventRow[]> {
  const query = database.read
    .selectFrom("events")
    .select(["seq", "at", "fact"])
    .where("session_id", "=", sessionId)
    .where("seq", ">", range.after)
    .orderBy("seq");
  return (await firstPage(query, { large: "fact", limit: range.limit })).rows;
}

/** The event as JSON text, without parsing it. */
export function eventJson(row: EventRow): string {
  return `{"seq":${row.seq},"at":${row.at},${row.fact.slice(1)}`;
}

export function parseEvent(row: EventRow): SessionEvent {
  return { seq: row.seq, at: row.at, ...Fact.parse(JSON.parse(row.fact)) };
}
