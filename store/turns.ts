/** A turn's row: begun once, ended once, each with its event in the same transaction. */
import type { Content } from "../contract/blocks.ts";
import { asBlocks } from "../contract/blocks.ts";
import type { Fact } from "../contract/events.ts";
import type { MessageId, SessionId, TurnId } from "../contract/ids.ts";
import type { TurnEnded, TurnEnding } from "../contract/steps.ts";
import type { Usage } from "../contract/usage.ts";
import { openCalls } from "./calls.ts";
import { applyPendingConfiguration } from "./configuration.ts";
import type { Database, Tx } from "./database.ts";
import { SupersededError } from "./error.ts";
import { append } from "./event-log.ts";
import { settleStatus } from "./messages.ts";
import { partialReply } from "./partial-reply.ts";
import type { TurnsTable } from "./schema.ts";
import { isToEnd } from "./stops.ts";
import { appendMessages } from "./transcript.ts";
import { cancelWaits } from "./waits.ts";

export interface TurnIds {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
  readonly messageId: MessageId;
}

/** Whether that turn of that session has begun and not ended. */
export async function isTurnRunning(database: Database, sessionId: SessionId, turnId: TurnId): Promise<boolean> {
  const turn = await database.read
    .selectFrom("turns")
    .select("state")
    .where("id", "=", turnId)
    .where("session_id", "=", sessionId)
    .executeTakeFirst();
  return turn?.state === "running";
}

/**
 * The facts of a turn's begin; none when it has begun before; `removed` when its message was taken back in time.
 * Throws SupersededError when the turn or its session is over.
 */
export async function beginTurn(tx: Tx, ids: TurnIds): Promise<Fact[] | "removed"> {
  const turn = await tx.selectFrom("turns").select("state").where("id", "=", ids.turnId).executeTakeFirst();
  if (turn && turn.state !== "running") throw new SupersededError(`turn ${ids.turnId} is over`);
  if (turn) return [];
  const other = await tx
    .selectFrom("turns")
    .select("id")
    .where("session_id", "=", ids.sessionId)
    .where("state", "=", "running")
    .executeTakeFirst();
  // The workflow does not know of it, or that its end was lost: one of the two is older.
  if (other) throw new SupersededError(`turn ${other.id} of session ${ids.sessionId} still runs`);
  const session = await tx
    .selectFrom("sessions")
    .select("closed_at")
    .where("id", "=", ids.sessionId)
    .executeTakeFirst();
  // Nothing follows session.closed in the log, and a closed session is not running.
  if (session?.closed_at !== null) throw new SupersededError(`session ${ids.sessionId} is closed or gone`);
  const state = await messageState(tx, ids);
  if (state === undefined) throw new SupersededError(`message ${ids.messageId} of session ${ids.sessionId} is gone`);
  // Taken back, or answered by a turn that the workflow, which is older than these rows, does not know of.
  if (state !== "received" && state !== "submitted") return "removed";
  await tx.updateTable("sessions").set({ status: "running" }).where("id", "=", ids.sessionId).execute();
  const message = await tx
    .updateTable("messages")
    .set({ state: "taken" })
    .where("session_id", "=", ids.sessionId)
    .where("id", "=", ids.messageId)
    .returning("content")
    .executeTakeFirst();
  if (!message) throw new SupersededError(`message ${ids.messageId} of session ${ids.sessionId} is gone`);
  await tx
    .insertInto("turns")
    .values({
      id: ids.turnId,
      session_id: ids.sessionId,
      message_id: ids.messageId,
      state: "running",
      started_at: Date.now(),
      ended_at: null,
      steps: 0,
      input_tokens: 0,
      output_tokens: 0,
      cached_tokens: 0,
      reasoning_tokens: 0,
      output: null,
      structured_output: null,
      re_asked: 0,
      stop: null,
    })
    .execute();
  const content = JSON.parse(message.content) as Content;
  await appendMessages(tx, ids.sessionId, [{ role: "user", blocks: [...asBlocks(content)] }]);
  return [{ type: "turn.started", turnId: ids.turnId, messageId: ids.messageId }];
}

async function messageState(tx: Tx, ids: TurnIds): Promise<string | undefined> {
  const message = await tx
    .selectFrom("messages")
    .select("state")
    .where("session_id", "=", ids.sessionId)
    .where("id", "=", ids.messageId)
    .executeTakeFirst();
  return message?.state;
}

/** Ends a turn, whatever still runs of it: later writers are superseded, and every call has a result that the model can be shown. */
export async function endTurn(database: Database, ending: TurnEnding): Promise<TurnEnded> {
  const { sessionId, turnId, messageId } = ending;
  return await database.write(async (tx) => {
    const late = await lateMessages(tx, ending);
    const answer: TurnEnded = { requeued: late.map(({ id }) => id) };
    const session = await tx
      .selectFrom("sessions")
      .select(["id", "closed_at"])
      .where("id", "=", sessionId)
      .executeTakeFirst();
    if (!session) return answer; // Purged meanwhile: there is nobody left to tell.
    const before = await tx.selectFrom("turns").select("state").where("id", "=", turnId).executeTakeFirst();
    if (before ? before.state !== "running" : session.closed_at !== null) return answer;
    // Older than the workflow: what these rows do not know of did not happen, and the workflow is to begin from them.
    if (await isBehind(tx, ending, before !== undefined)) return { ...answer, behind: true };
    const facts = before ? [] : await beginTurn(tx, { sessionId, turnId, messageId });
    if (facts === "removed") return answer;
    facts.push(...(await endRow(tx, ending)));
    await settleStatus(tx, sessionId);
    facts.push(...queued(late));
    facts.push(...(await applyPendingConfiguration(tx, sessionId)));
    await append(tx, sessionId, facts);
    return answer;
  });
}

/** Ends what still runs in a session that is closed: its workflow knew of no turn, or of another one. */
export async function endRunningTurn(tx: Tx, sessionId: SessionId): Promise<Fact[]> {
  const running = await tx
    .selectFrom("turns")
    .select(["id", "message_id"])
    .where("session_id", "=", sessionId)
    .where("state", "=", "running")
    .execute();
  const facts: Fact[] = [];
  for (const turn of running) {
    const ids = { sessionId, turnId: turn.id as TurnId, messageId: turn.message_id as MessageId };
    facts.push(...(await endRow(tx, { ...ids, outcome: "interrupted", reason: "closed" })));
  }
  return facts;
}

async function endRow(tx: Tx, ending: TurnEnding): Promise<Fact[]> {
  const { sessionId, turnId } = ending;
  const facts = await endOpenWork(tx, sessionId, turnId);
  const turn = await tx
    .updateTable("turns")
    .set({ state: ending.outcome, ended_at: Date.now() })
    .where("id", "=", turnId)
    .returningAll()
    .executeTakeFirstOrThrow();
  await tx
    .updateTable("messages")
    .set({ state: "ended" })
    .where("session_id", "=", sessionId)
    .where("turn_id", "=", turnId) // Those that joined it, too.
    .where("state", "=", "taken")
    .execute();
  return [...facts, outcomeFact(turn, ending)];
}

/** Whether the rows know nothing of what ends here: its message, that its session is to be closed, or the answer that completed it. */
async function isBehind(tx: Tx, ending: TurnEnding, hasBegun: boolean): Promise<boolean> {
  if (!hasBegun && (await messageState(tx, ending)) === undefined) return true;
  if (ending.onRequest && ending.reason === "closed" && !(await isToEnd(tx, ending.sessionId))) return true;
  if (ending.outcome !== "completed" || ending.step === undefined) return false;
  const last = await tx
    .selectFrom("steps")
    .select("state")
    .where("turn_id", "=", ending.turnId)
    .where("step", "=", ending.step)
    .executeTakeFirst();
  return last?.state !== "done";
}

async function endOpenWork(tx: Tx, sessionId: SessionId, turnId: TurnId): Promise<Fact[]> {
  const open = await tx
    .updateTable("steps")
    .set((eb) => ({ epoch: eb("epoch", "+", 1) }))
    .where("turn_id", "=", turnId)
    .where("state", "=", "running")
    .returning("step")
    .executeTakeFirst();
  const facts = open ? await keepPartialReply(tx, { sessionId, turnId, step: open.step }) : [];
  facts.push(...(await cancelWaits(tx, sessionId, turnId)));
  facts.push(...(await openCalls(tx, sessionId, turnId)));
  return facts;
}

/** What the agent had said of an answer that was stopped stays in the conversation, marked as cut. */
async function keepPartialReply(
  tx: Tx,
  of: { readonly sessionId: SessionId; readonly turnId: TurnId; readonly step: number },
): Promise<Fact[]> {
  const partial = await partialReply(tx, of);
  if (!partial) return [];
  await appendMessages(tx, of.sessionId, [partial.message]);
  await tx.updateTable("turns").set({ output: partial.text }).where("id", "=", of.turnId).execute();
  return [...partial.facts];
}

/** Messages that were to join the turn and came too late for it: they wait for turns of their own. */
async function lateMessages(tx: Tx, ending: TurnEnding): Promise<readonly { id: MessageId; turn_id: string }[]> {
  const { requeued = [] } = ending;
  if (requeued.length === 0) return [];
  return await tx
    .selectFrom("messages")
    .select(["id", "turn_id"])
    .where("session_id", "=", ending.sessionId)
    .where("id", "in", [...requeued])
    .where("state", "in", ["received", "submitted"])
    .orderBy("position")
    .execute();
}

function queued(late: readonly { id: MessageId; turn_id: string }[]): Fact[] {
  return late.map(({ id, turn_id }, index) => ({
    type: "message.queued",
    messageId: id,
    turnId: turn_id as TurnId,
    position: index + 1,
  }));
}

function outcomeFact(turn: TurnsTable, ending: TurnEnding): Fact {
  const sums = {
    turnId: ending.turnId,
    usage: usageOf(turn),
    steps: turn.steps,
    durationMs: Math.max(0, (turn.ended_at ?? turn.started_at) - turn.started_at),
  };
  switch (ending.outcome) {
    case "completed":
      return {
        type: "turn.completed",
        ...sums,
        output: turn.output ?? "",
        ...(turn.structured_output !== null && { structuredOutput: JSON.parse(turn.structured_output) as unknown }),
      };
    case "failed": {
      const failure = ending.failure ?? {
        code: "PROVIDER_ERROR" as const,
        message: "the turn failed",
        retryable: true,
      };
      return { type: "turn.failed", ...sums, ...failure };
    }
    case "interrupted":
      return {
        type: "turn.interrupted",
        ...sums,
        reason: ending.reason ?? "interrupted",
        ...(turn.output !== null && { output: turn.output }),
      };
  }
}

/** The tokens that a turn has cost so far. */
export function usageOf(turn: TurnsTable): Usage {
  return {
    inputTokens: turn.input_tokens,
    outputTokens: turn.output_tokens,
    cachedTokens: turn.cached_tokens,
    reasoningTokens: turn.reasoning_tokens,
  };
}
