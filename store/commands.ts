/** Commands of callers: committed as rows before a workflow hears of them, begun with an epoch by each attempt, ended once. */
import { sql } from "kysely";
import type { Agent } from "../contract/agents.ts";
import type { ToolOutcome } from "../contract/blocks.ts";
import type { Command, CommandRequest, CommandState } from "../contract/commands.ts";
import { ProblemError } from "../contract/errors.ts";
import type { Fact } from "../contract/events.ts";
import type { CallId, SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type Attempt, beginAttempt, endAttempt, takeOver } from "./attempts.ts";
import { contentHash } from "./content-hash.ts";
import type { Database, Tx } from "./database.ts";
import { SupersededError, TakenOverError } from "./error.ts";
import { append } from "./event-log.ts";
import type { SpoolOffsets } from "./offsets.ts";
import { firstPage, type Page } from "./page-size.ts";
import { newestGeneration } from "./sandboxes.ts";
import type { CommandsTable } from "./schema.ts";
import { storedAgent } from "./session-setup.ts";

export interface CommandIds {
  readonly sessionId: SessionId;
  readonly callId: CallId;
}

/**
 * Commits a command that is to be run. The same id with the same content is the same command; with other content, or of
 * another session or call, a CONFLICT. Throws SESSION_NOT_FOUND, SESSION_CLOSED, TOO_MANY_COMMANDS.
 */
export async function makeCommand(
  database: Database,
  { sessionId, callId }: CommandIds,
  request: CommandRequest,
): Promise<Command> {
  const hash = contentHash(request);
  const row = await database.write(async (tx) => {
    const session = await tx.selectFrom("sessions").select("closed_at").where("id", "=", sessionId).executeTakeFirst();
    if (!session) throw new ProblemError("SESSION_NOT_FOUND", `there is no session ${sessionId}`);
    const before = await tx.selectFrom("commands").selectAll().where("id", "=", callId).executeTakeFirst();
    if (before?.session_id === sessionId && before.request_hash === hash) return before;
    if (before || (await isCall(tx, callId))) {
      throw new ProblemError("CONFLICT", `${callId} is taken by another command or call; use a new id`);
    }
    if (session.closed_at !== null) {
      throw new ProblemError("SESSION_CLOSED", `session ${sessionId} is closed and runs nothing; make a new session`);
    }
    if ((await openCount(tx, sessionId)) >= LIMITS.commandsOpenMax) {
      const most = LIMITS.commandsOpenMax;
      throw new ProblemError("TOO_MANY_COMMANDS", `${most} commands of session ${sessionId} have not ended, the most`);
    }
    return await tx
      .insertInto("commands")
      .values({
        id: callId,
        session_id: sessionId,
        request: JSON.stringify(request),
        request_hash: hash,
        epoch: 0,
        generation: 0,
        state: "planned",
        made_at: Date.now(),
        started_at: null,
        ended_at: null,
        stdout_published: 0,
        stderr_published: 0,
        outcome: null,
        exit_code: null,
        result: null,
        taken_by: null,
      })
      .returningAll()
      .executeTakeFirstOrThrow();
  });
  return toCommand(row);
}

/** In a sandbox, a command and a call of an agent are the same thing, and are told apart by their ids alone. */
async function isCall(tx: Tx, callId: CallId): Promise<boolean> {
  return (await tx.selectFrom("tool_calls").select("id").where("id", "=", callId).executeTakeFirst()) !== undefined;
}

async function openCount(tx: Tx, sessionId: SessionId): Promise<number> {
  const counted = await tx
    .selectFrom("commands")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("session_id", "=", sessionId)
    .where("state", "<>", "done")
    .executeTakeFirst();
  return Number(counted?.count ?? 0);
}

/** A command as an attempt holds it. */
export interface BegunCommand extends CommandIds {
  readonly state: "begun";
  readonly request: CommandRequest;
  readonly epoch: number;
  readonly published: SpoolOffsets;
  readonly startedAt: number;
  /** It is to be ended, not to be run. */
  readonly isStopping: boolean;
  /** The sandbox that was the newest when its first attempt began: what that did, it did there, or in a newer one. */
  readonly generation: number;
  /** The session's, as it is now. */
  readonly agent: Agent;
}

/** Takes the command for a new attempt; `done` when it has ended. Throws SupersededError when it is gone. */
export async function beginCommand(
  database: Database,
  ids: CommandIds,
  attempt: Attempt | undefined,
): Promise<BegunCommand | { readonly state: "done" }> {
  const { sessionId, callId } = ids;
  return await database.write(async (tx) => {
    const before = await tx
      .selectFrom("commands")
      .innerJoin("sessions", "sessions.id", "commands.session_id")
      .select(["commands.state", "commands.taken_by", "sessions.agent"])
      .where("commands.id", "=", callId)
      .where("commands.session_id", "=", sessionId)
      .executeTakeFirst();
    if (!before) throw new SupersededError(`command ${callId} of session ${sessionId} is gone`);
    if (before.state === "done") return { state: "done" };
    const isStopping = before.state === "stopping";
    const taken = takeOver(attempt, before.taken_by);
    const row = await tx
      .updateTable("commands")
      .set((eb) => ({
        epoch: eb("epoch", "+", 1),
        taken_by: taken,
        state: isStopping ? "stopping" : "running",
        started_at: eb.fn.coalesce("started_at", eb.val(Date.now())),
        // Of the first attempt: what it did, it did there.
        generation: eb.case().when("epoch", ">", 0).then(eb.ref("generation")).else(newestGeneration(sessionId)).end(),
      }))
      .where("id", "=", callId)
      .returningAll()
      .executeTakeFirstOrThrow();
    const request = requestOf(row);
    if (row.epoch === 1) await append(tx, sessionId, [startedFact(callId, request)]);
    await beginAttempt(tx, attempt);
    return {
      state: "begun",
      ...ids,
      request,
      epoch: row.epoch,
      published: { stdout: row.stdout_published, stderr: row.stderr_published },
      startedAt: row.started_at ?? Date.now(),
      isStopping,
      generation: row.generation,
      agent: storedAgent(before.agent),
    };
  });
}

function startedFact(callId: CallId, { command, cwd, timeoutMs }: CommandRequest): Fact {
  return { type: "command.started", callId, command, ...(cwd !== undefined && { cwd }), timeoutMs };
}

/** Its first attempt has started nothing yet, and will in this generation of the sandbox. */
export async function noteCommandGeneration(
  database: Database,
  begun: BegunCommand,
  generation: number,
): Promise<void> {
  await database.write((tx) => touch(tx, begun, { generation }));
}

/** Appends a command's output together with how far it reaches. */
export async function publishCommandOutput(
  database: Database,
  begun: BegunCommand,
  output: { readonly facts: readonly Fact[]; readonly upTo: SpoolOffsets },
): Promise<void> {
  await database.write(async (tx) => {
    await touch(tx, begun, { stdout_published: output.upTo.stdout, stderr_published: output.upTo.stderr });
    await append(tx, begun.sessionId, output.facts);
  });
}

export interface CommandEnding {
  readonly outcome: ToolOutcome;
  readonly exitCode: number | null;
  readonly text: string;
  /** Output not yet published. */
  readonly facts: readonly Fact[];
}

/** Ends the command: its row and its events in one transaction. */
export async function endCommand(
  database: Database,
  begun: BegunCommand,
  ending: CommandEnding & { readonly attempt: Attempt | undefined },
): Promise<void> {
  const { outcome, exitCode, text } = ending;
  await database.write(async (tx) => {
    const endedAt = Date.now();
    await touch(tx, begun, { state: "done", outcome, exit_code: exitCode, result: text, ended_at: endedAt });
    const end = completedFact(begun.callId, { outcome, exitCode, text, durationMs: endedAt - begun.startedAt });
    await append(tx, begun.sessionId, [...ending.facts, end]);
    await endAttempt(tx, ending.attempt);
  });
}

/** Writes to the row as its newest attempt. An older one meets SupersededError, and nothing of its transaction stays. */
async function touch(tx: Tx, begun: BegunCommand, values: Partial<CommandsTable>): Promise<void> {
  const mine = await tx
    .updateTable("commands")
    .set(values)
    .where("id", "=", begun.callId)
    .where("epoch", "=", begun.epoch)
    .where("state", "<>", "done")
    .returning("id")
    .executeTakeFirst();
  if (!mine) throw new TakenOverError(`another attempt of command ${begun.callId} has taken over`);
}

function completedFact(
  callId: string,
  end: Pick<CommandEnding, "outcome" | "exitCode" | "text"> & { readonly durationMs: number },
): Fact {
  const { outcome, exitCode, text: result } = end;
  const durationMs = Math.max(0, end.durationMs);
  return { type: "command.completed", callId: callId as CallId, outcome, exitCode, result, durationMs };
}

/**
 * Notes that a command is to be ended; one that no attempt has begun is ended by that. Throws NOT_FOUND. One that has ended
 * stays as it is.
 */
export async function stopCommand(database: Database, { sessionId, callId }: CommandIds): Promise<Command> {
  const row = await database.write(async (tx) => {
    const before = await rowOf(tx, { sessionId, callId });
    if (before.state === "running") {
      return await tx
        .updateTable("commands")
        .set({ state: "stopping" })
        .where("id", "=", callId)
        .returningAll()
        .executeTakeFirstOrThrow();
    }
    if (before.state !== "planned") return before;
    const [fact] = await endAll(tx, [before], "It was stopped before it was run.");
    if (fact) await append(tx, sessionId, [fact]);
    return await rowOf(tx, { sessionId, callId });
  });
  return toCommand(row);
}

/** Ends every command of a session that is closed, and returns the facts of it. What runs ends with the sandbox. */
export async function openCommands(tx: Tx, sessionId: SessionId): Promise<Fact[]> {
  const open = await tx
    .selectFrom("commands")
    .selectAll()
    .where("session_id", "=", sessionId)
    .where("state", "<>", "done")
    .orderBy("made_at")
    .orderBy("id")
    .execute();
  return await endAll(tx, open, "The session was closed before it had ended.");
}

async function endAll(tx: Tx, rows: readonly CommandsTable[], text: string): Promise<Fact[]> {
  const endedAt = Date.now();
  const facts: Fact[] = [];
  for (const { id, started_at: startedAt, epoch } of rows) {
    await tx
      .updateTable("commands")
      .set({ state: "done", outcome: "interrupted", result: text, ended_at: endedAt, epoch: epoch + 1 })
      .where("id", "=", id)
      .execute();
    const durationMs = endedAt - (startedAt ?? endedAt);
    facts.push(completedFact(id, { outcome: "interrupted", exitCode: null, text, durationMs }));
  }
  return facts;
}

/** Throws NOT_FOUND. */
export async function getCommand(database: Database, ids: CommandIds): Promise<Command> {
  return toCommand(await rowOf(database.read, ids));
}

async function rowOf(from: Pick<Tx, "selectFrom">, { sessionId, callId }: CommandIds): Promise<CommandsTable> {
  const row = await from
    .selectFrom("commands")
    .selectAll()
    .where("id", "=", callId)
    .where("session_id", "=", sessionId)
    .executeTakeFirst();
  if (!row) throw new ProblemError("NOT_FOUND", `session ${sessionId} has no command ${callId}; list them first`);
  return row;
}

/** Newest first. */
export async function listCommands(
  database: Database,
  sessionId: SessionId,
  page: {
    readonly state?: CommandState | undefined;
    readonly after?: { readonly at: number; readonly id: string } | undefined;
    readonly limit: number;
  },
): Promise<Page<Command>> {
  let query = database.read.selectFrom("commands").selectAll().where("session_id", "=", sessionId);
  if (page.state !== undefined) query = query.where("state", "=", page.state);
  if (page.after) query = query.where(sql<boolean>`(made_at, id) < (${page.after.at}, ${page.after.id})`);
  const ordered = query.orderBy("made_at", "desc").orderBy("id", "desc");
  const { rows, hasMore } = await firstPage(ordered, { large: "request", limit: page.limit });
  return { rows: rows.map(toCommand), hasMore };
}

export interface UntoldCommand extends CommandIds {
  readonly isStopping: boolean;
}

/**
 * The oldest open ones of a session are its share of the workers, and the others wait for theirs. Whoever asks, in whatever
 * process, finds the same ones, and one that is in its share stays there until it has ended.
 */
const isInShare = sql<boolean>`(
  select count(*) from commands as earlier
  where earlier.session_id = commands.session_id and earlier.state <> 'done'
    and (earlier.made_at, earlier.id) < (commands.made_at, commands.id)
) < ${LIMITS.commandsAtOnce}`;

/** Whether the command may be begun now. Not so: its session has others at work, and as many of them as it may. */
export async function mayBegin(database: Database, { callId }: CommandIds): Promise<boolean> {
  const row = await database.read
    .selectFrom("commands")
    .select("id")
    .where("id", "=", callId)
    .where((eb) => eb.or([eb("state", "<>", "planned"), isInShare]))
    .executeTakeFirst();
  return row !== undefined;
}

/** Commands that nobody has begun, with whether they may be begun: of those that may not, at least one is told of. */
export async function waitingCommands(
  database: Database,
  limit: number,
): Promise<{ readonly due: readonly CommandIds[]; readonly isHolding: boolean }> {
  const planned = database.read.selectFrom("commands").select(["id", "session_id"]).where("state", "=", "planned");
  const due = await planned.where(isInShare).orderBy("made_at").orderBy("id").limit(limit).execute();
  const held = await planned
    .where((eb) => eb.not(isInShare))
    .limit(1)
    .execute();
  return {
    due: due.map((row) => ({ sessionId: row.session_id, callId: row.id as CallId })),
    isHolding: held.length > 0,
  };
}

/**
 * Commands that a workflow may not have heard of, in the order of their ids: those that wait for a worker, or for their end, and
 * those that run, whose workflow may be lost. One that was told before is left alone by whoever tells again.
 */
export async function untoldCommands(
  database: Database,
  which: { readonly before: number; readonly after: string; readonly limit: number },
): Promise<readonly UntoldCommand[]> {
  const rows = await database.read
    .selectFrom("commands")
    .select(["id", "session_id", "state"])
    .where("state", "in", ["planned", "running", "stopping"])
    .where((eb) => eb.or([eb("state", "<>", "planned"), isInShare]))
    .where("made_at", "<", which.before)
    .where("id", ">", which.after)
    .orderBy("id")
    .limit(which.limit)
    .execute();
  return rows.map((row) => ({
    sessionId: row.session_id,
    callId: row.id as CallId,
    isStopping: row.state === "stopping",
  }));
}

function requestOf(row: CommandsTable): CommandRequest {
  return JSON.parse(row.request) as CommandRequest; // Written from a parsed value.
}

function toCommand(row: CommandsTable): Command {
  const { command, cwd, timeoutMs } = requestOf(row);
  return {
    id: row.id as CallId,
    command,
    cwd: cwd ?? null,
    timeoutMs,
    state: row.state as CommandState,
    outcome: row.outcome as ToolOutcome | null,
    exitCode: row.exit_code,
    result: row.result,
    madeAt: row.made_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
  };
}
