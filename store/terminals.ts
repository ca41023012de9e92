/**
 * Terminals: what goes between a shell's worker and those who watch it, as rows. A worker listens on no port and the API reaches
 * no sandbox, so both write here and look here for what the other has written.
 */
import { ProblemError } from "../contract/errors.ts";
import type { SessionId, TerminalId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { TerminalKey } from "../contract/terminals.ts";
import { type Attempt, beginAttempt, takeOver } from "./attempts.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import type { TerminalsTable } from "./terminals-tables.ts";

export interface TerminalRecord {
  readonly id: TerminalId;
  readonly sessionId: SessionId;
  readonly state: "opening" | "open" | "closed";
  readonly columns: number;
  readonly rows: number;
  /** The token of whoever may type. */
  readonly writer: string | null;
  readonly servedAt: number;
  readonly watchedAt: number;
  readonly reason: string | null;
}

export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

export interface TerminalFrame {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** Makes the row of a new terminal. Throws SESSION_NOT_FOUND, SESSION_CLOSED, TOO_MANY_TERMINALS. */
export async function makeTerminal(database: Database, key: TerminalKey, size: ScreenSize): Promise<void> {
  const { sessionId, terminalId } = key;
  const now = Date.now();
  await database.write(async (tx) => {
    const session = await tx.selectFrom("sessions").select("closed_at").where("id", "=", sessionId).executeTakeFirst();
    if (!session) throw new ProblemError("SESSION_NOT_FOUND", `there is no session ${sessionId}`);
    if (session.closed_at !== null) {
      throw new ProblemError("SESSION_CLOSED", `session ${sessionId} is closed and has no sandbox; make a new session`);
    }
    await closeLost(tx, sessionId, now);
    const others = await tx
      .selectFrom("terminals")
      .select(["id", "state"])
      .where("session_id", "=", sessionId)
      .execute();
    const open = others.filter(({ state }) => state !== "closed");
    if (open.length >= LIMITS.terminalsPerSession) {
      const ids = open.map(({ id }) => id).join(", ");
      throw new ProblemError("TOO_MANY_TERMINALS", `session ${sessionId} has ${open.length} open, the most: ${ids}`);
    }
    for (const { id } of others) if (!open.some((one) => one.id === id)) await removeFrames(tx, id);
    await tx
      .insertInto("terminals")
      .values({
        id: terminalId,
        session_id: sessionId,
        state: "opening",
        ...size,
        writer: null,
        opened_at: now,
        served_at: now,
        watched_at: now,
        reason: null,
        taken_by: null,
      })
      .execute();
  });
}

/** Those whose worker, and everybody who watched, went away without a word. */
async function closeLost(tx: Tx, sessionId: SessionId, now: number): Promise<void> {
  const reason = "the worker that served it is gone";
  const lost = await tx
    .updateTable("terminals")
    .set({ state: "closed", reason, writer: null })
    .where("session_id", "=", sessionId)
    .where("state", "<>", "closed")
    .where("served_at", "<", now - LIMITS.terminalLostMs)
    .returning("id")
    .execute();
  if (lost.length === 0) return;
  const facts = lost.map(({ id }) => ({ type: "terminal.closed" as const, terminalId: id as TerminalId, reason }));
  await append(tx, sessionId, facts);
}

export async function findTerminal(database: Database, id: TerminalId): Promise<TerminalRecord | undefined> {
  const row = await database.read.selectFrom("terminals").selectAll().where("id", "=", id).executeTakeFirst();
  return row && toRecord(row);
}

/** The newest one of a session that is open. */
export async function newestTerminal(database: Database, sessionId: SessionId): Promise<TerminalRecord | undefined> {
  const row = await database.read
    .selectFrom("terminals")
    .selectAll()
    .where("session_id", "=", sessionId)
    .where("state", "=", "open")
    .orderBy("opened_at", "desc")
    .limit(1)
    .executeTakeFirst();
  return row && toRecord(row);
}

/** Takes the terminal for an attempt that has not opened it. Throws TakenOverError when a later one serves it. */
export async function takeTerminalOver(
  database: Database,
  row: TerminalRecord,
  attempt: Attempt | undefined,
): Promise<void> {
  await database.write(async (tx) => {
    const before = await tx.selectFrom("terminals").select("taken_by").where("id", "=", row.id).executeTakeFirst();
    const taken = takeOver(attempt, before?.taken_by);
    await tx.updateTable("terminals").set({ taken_by: taken }).where("id", "=", row.id).execute();
  });
}

/** Says that its shell is there, and by whose attempt. false: it was closed meanwhile. */
export async function openTerminal(
  database: Database,
  { sessionId, terminalId }: TerminalKey,
  attempt: Attempt | undefined,
): Promise<boolean> {
  return await database.write(async (tx) => {
    const opened = await tx
      .updateTable("terminals")
      .set({ state: "open", served_at: Date.now() })
      .where("id", "=", terminalId)
      .where("state", "=", "opening")
      .returning("id")
      .executeTakeFirst();
    if (opened) {
      await beginAttempt(tx, attempt);
      await append(tx, sessionId, [{ type: "terminal.opened", terminalId }]);
    }
    return opened !== undefined;
  });
}

/** Closes it for good, whoever says so first. What it printed stays until the session's next terminal. */
export async function closeTerminal(
  database: Database,
  { sessionId, terminalId }: TerminalKey,
  reason: string,
): Promise<void> {
  await database.write(async (tx) => {
    const before = await tx
      .selectFrom("terminals")
      .select("state")
      .where("id", "=", terminalId)
      .where("state", "<>", "closed")
      .executeTakeFirst();
    if (!before) return;
    await tx
      .updateTable("terminals")
      .set({ state: "closed", reason, writer: null })
      .where("id", "=", terminalId)
      .execute();
    await tx
      .deleteFrom("terminal_frames")
      .where("terminal_id", "=", terminalId)
      .where("direction", "=", "in")
      .execute();
    if (before.state === "open") await append(tx, sessionId, [{ type: "terminal.closed", terminalId, reason }]);
  });
}

/** All that are open in a session. Whoever serves them finds it out, and ends their shells. */
export async function closeTerminals(database: Database, sessionId: SessionId, reason: string): Promise<void> {
  const open = await database.read
    .selectFrom("terminals")
    .select("id")
    .where("session_id", "=", sessionId)
    .where("state", "<>", "closed")
    .execute();
  for (const { id } of open) await closeTerminal(database, { sessionId, terminalId: id as TerminalId }, reason);
}

/** Makes somebody the writer; with `ifFree` only where nobody is. */
export async function takeTerminal(
  database: Database,
  id: TerminalId,
  { writer, ifFree }: { readonly writer: string; readonly ifFree: boolean },
): Promise<void> {
  await database.write(async (tx) => {
    const update = tx.updateTable("terminals").set({ writer }).where("id", "=", id).where("state", "<>", "closed");
    await (ifFree ? update.where("writer", "is", null) : update).execute();
  });
}

export async function leaveTerminal(database: Database, id: TerminalId, writer: string): Promise<void> {
  await database.write((tx) =>
    tx.updateTable("terminals").set({ writer: null }).where("id", "=", id).where("writer", "=", writer).execute(),
  );
}

/** false: whoever asks is not the writer. */
export async function resizeTerminal(
  database: Database,
  id: TerminalId,
  { writer, ...size }: ScreenSize & { readonly writer: string },
): Promise<boolean> {
  const resized = await database.write((tx) =>
    tx
      .updateTable("terminals")
      .set({ columns: size.columns, rows: size.rows })
      .where("id", "=", id)
      .where("writer", "=", writer)
      .returning("id")
      .executeTakeFirst(),
  );
  return resized !== undefined;
}

/** Puts what was typed where the worker finds it. */
export async function putInput(
  database: Database,
  id: TerminalId,
  { writer, bytes }: { readonly writer: string; readonly bytes: Uint8Array },
): Promise<"put" | "not_writer" | "full"> {
  return await database.write(async (tx) => {
    const row = await tx.selectFrom("terminals").select("writer").where("id", "=", id).executeTakeFirst();
    if (row?.writer !== writer) return "not_writer";
    const waiting = await tx
      .selectFrom("terminal_frames")
      .select((eb) => [eb.fn.countAll<number>().as("count"), eb.fn.max("number").as("last")])
      .where("terminal_id", "=", id)
      .where("direction", "=", "in")
      .executeTakeFirst();
    if (Number(waiting?.count ?? 0) > LIMITS.terminalMessagesWaiting) return "full";
    const number = Number(waiting?.last ?? 0) + 1;
    await tx
      .insertInto("terminal_frames")
      .values({ terminal_id: id, direction: "in", number, data: base64(bytes) })
      .execute();
    return "put";
  });
}

export function inputAfter(database: Database, id: TerminalId, number: number): Promise<readonly TerminalFrame[]> {
  return framesAfter(database, id, { direction: "in", number });
}

/** What was printed after that piece, as far as it is kept. */
export function outputAfter(database: Database, id: TerminalId, number: number): Promise<readonly TerminalFrame[]> {
  return framesAfter(database, id, { direction: "out", number });
}

export interface TerminalProgress {
  readonly output: readonly TerminalFrame[];
  /** Pieces of output before this one are dropped. */
  readonly keptFrom: number;
  /** Input up to this piece has reached the shell. The last one is kept, so that numbers go on from it. */
  readonly inputTaken: number;
}

/** What its worker commits. false: it is closed, and nothing was written. */
export async function writeProgress(database: Database, id: TerminalId, progress: TerminalProgress): Promise<boolean> {
  return await database.write(async (tx) => {
    const row = await tx
      .updateTable("terminals")
      .set({ served_at: Date.now() })
      .where("id", "=", id)
      .where("state", "=", "open")
      .returning("id")
      .executeTakeFirst();
    if (!row) return false;
    for (const { number, bytes } of progress.output) {
      const frame = { terminal_id: id, direction: "out", number, data: base64(bytes) };
      await tx.insertInto("terminal_frames").values(frame).execute();
    }
    await removeFrames(tx, id, { direction: "out", before: progress.keptFrom });
    await removeFrames(tx, id, { direction: "in", before: progress.inputTaken });
    return true;
  });
}

export async function noteWatched(database: Database, ids: readonly TerminalId[]): Promise<void> {
  if (ids.length === 0) return;
  await database.write((tx) =>
    tx.updateTable("terminals").set({ watched_at: Date.now() }).where("id", "in", ids).execute(),
  );
}

async function framesAfter(
  database: Database,
  id: TerminalId,
  { direction, number }: { readonly direction: "in" | "out"; readonly number: number },
): Promise<readonly TerminalFrame[]> {
  const rows = await database.read
    .selectFrom("terminal_frames")
    .select(["number", "data"])
    .where("terminal_id", "=", id)
    .where("direction", "=", direction)
    .where("number", ">", number)
    .orderBy("number")
    .execute();
  return rows.map((row) => ({ number: row.number, bytes: new Uint8Array(Buffer.from(row.data, "base64")) }));
}

async function removeFrames(
  tx: Tx,
  id: string,
  which?: { readonly direction: "in" | "out"; readonly before: number },
): Promise<void> {
  const all = tx.deleteFrom("terminal_frames").where("terminal_id", "=", id);
  if (!which) await all.execute();
  else await all.where("direction", "=", which.direction).where("number", "<", which.before).execute();
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
}

function toRecord(row: TerminalsTable): TerminalRecord {
  return {
    id: row.id as TerminalId,
    sessionId: row.session_id as SessionId,
    state: row.state as TerminalRecord["state"],
    columns: row.columns,
    rows: row.rows,
    writer: row.writer,
    servedAt: row.served_at,
    watchedAt: row.watched_at,
    reason: row.reason,
  };
}
