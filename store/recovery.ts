/** What the rows say is going on in a session, as ids and counters: a workflow that is begun anew goes on from it. */
import type { MessageMode } from "../contract/events.ts";
import type { MessageId, SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type Recovered, type RecoveredMessage, type RecoveredTurn, sessionAgent } from "../contract/steps.ts";
import { NO_USAGE } from "../contract/usage.ts";
import { completed, placeResult } from "./calls.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import type { SessionsTable, TurnsTable } from "./schema.ts";
import { sessionSetup } from "./session-setup.ts";
import { usageOf } from "./turns.ts";

/** Reads it, and closes gaps that another database's loss has left. Undefined: the session is gone, or closed. */
export async function recoverSession(database: Database, sessionId: SessionId): Promise<Recovered | undefined> {
  return await database.write(async (tx) => {
    const session = await tx.selectFrom("sessions").selectAll().where("id", "=", sessionId).executeTakeFirst();
    if (!session || session.closed_at !== null) return undefined;
    const running = await tx
      .selectFrom("turns")
      .selectAll()
      .where("session_id", "=", sessionId)
      .where("state", "=", "running")
      .orderBy("started_at")
      .executeTakeFirst();
    const step = running ? await newestStep(tx, running.id) : 0;
    await healGaps(tx, sessionId, { turnId: running?.id, step });
    const waiting = await waitingMessages(tx, sessionId);
    const turn = running && (await recoveredTurn(tx, { running, step, waiting, movedAt: session.updated_at }));
    // What was to join a turn joins it still; without one it has a turn of its own.
    const isForTurn = ({ mode }: { readonly mode: MessageMode }): boolean => turn !== undefined && mode === "steer";
    return {
      queue: waiting.filter((message) => !isForTurn(message)).map(withoutMode),
      ...(turn && { turn }),
      closing: session.ending !== null,
      ...(await pastTurns(tx, sessionId)),
      hasSandbox: await hasSandbox(tx, sessionId),
      configured: await configured(tx, session),
    };
  });
}

interface WaitingMessage extends RecoveredMessage {
  readonly mode: MessageMode;
}

function withoutMode({ messageId, turnId }: WaitingMessage): RecoveredMessage {
  return { messageId, turnId };
}

/** Those that interrupt go first, the newest of them before the others, as the workflow would have put them. */
async function waitingMessages(tx: Tx, sessionId: SessionId): Promise<readonly WaitingMessage[]> {
  const rows = await tx
    .selectFrom("messages")
    .select(["id", "turn_id", "mode"])
    .where("session_id", "=", sessionId)
    .where("state", "in", ["received", "submitted"])
    .orderBy("position")
    .limit(LIMITS.messagesWaiting)
    .execute();
  const messages = rows.map((row) => ({
    messageId: row.id as MessageId,
    turnId: row.turn_id as TurnId,
    mode: row.mode as MessageMode,
  }));
  const interrupting = messages.filter(({ mode }) => mode === "interrupt").reverse();
  return [...interrupting, ...messages.filter(({ mode }) => mode !== "interrupt")];
}

async function newestStep(tx: Tx, turnId: string): Promise<number> {
  const row = await tx
    .selectFrom("steps")
    .select((eb) => eb.fn.max("step").as("step"))
    .where("turn_id", "=", turnId)
    .executeTakeFirst();
  return row?.step ?? 1;
}

interface OfTurn {
  readonly running: TurnsTable;
  readonly step: number;
  readonly waiting: readonly WaitingMessage[];
  /** When the session's rows have moved last. */
  readonly movedAt: number;
}

async function recoveredTurn(tx: Tx, of: OfTurn): Promise<RecoveredTurn> {
  const { running, step, waiting } = of;
  const call = await tx.selectFrom("tool_calls").select("id").where("turn_id", "=", running.id).executeTakeFirst();
  const steering = waiting.filter(({ mode }) => mode === "steer").map(withoutMode);
  const isReplaced = waiting.some(({ mode }) => mode === "interrupt");
  const stop = running.stop !== null ? ("interrupted" as const) : isReplaced ? ("replaced" as const) : undefined;
  return {
    messageId: running.message_id as MessageId,
    turnId: running.id as TurnId,
    step,
    startedAt: running.started_at,
    spentMs: await spentMs(tx, of),
    usage: await usageBefore(tx, running, step),
    hasRunTools: call !== undefined,
    ...(steering.length > 0 && { steering }),
    ...(stop && { stop }),
  };
}

/** From its beginning to the last sign of life, without the times in which it waited for somebody. */
async function spentMs(tx: Tx, { running, movedAt }: OfTurn): Promise<number> {
  const waits = await tx
    .selectFrom("waits")
    .select(["requested_at", "decided_at"])
    .where("turn_id", "=", running.id)
    .orderBy("requested_at")
    .execute();
  let spent = Math.max(0, movedAt - running.started_at);
  let covered = running.started_at; // Waits may overlap.
  for (const wait of waits) {
    const end = Math.min(wait.decided_at ?? movedAt, movedAt);
    spent -= Math.max(0, end - Math.max(wait.requested_at, covered));
    covered = Math.max(covered, end);
  }
  return Math.max(0, spent);
}

/** The newest step is asked for again, and answers with its own usage once more. */
async function usageBefore(tx: Tx, turn: TurnsTable, step: number): Promise<RecoveredTurn["usage"]> {
  const row = await tx
    .selectFrom("steps")
    .select("result")
    .where("turn_id", "=", turn.id)
    .where("step", "=", step)
    .executeTakeFirst();
  const sum = usageOf(turn);
  const last = row?.result ? (JSON.parse(row.result) as { usage: RecoveredTurn["usage"] }).usage : NO_USAGE;
  return {
    inputTokens: Math.max(0, sum.inputTokens - last.inputTokens),
    outputTokens: Math.max(0, sum.outputTokens - last.outputTokens),
    cachedTokens: Math.max(0, sum.cachedTokens - last.cachedTokens),
    reasoningTokens: Math.max(0, sum.reasoningTokens - last.reasoningTokens),
  };
}

async function pastTurns(tx: Tx, sessionId: SessionId): Promise<Pick<Recovered, "turns" | "usage">> {
  const sums = await tx
    .selectFrom("turns")
    .select((eb) => [
      eb.fn.countAll<number>().as("turns"),
      eb.fn.sum<number | null>("input_tokens").as("inputTokens"),
      eb.fn.sum<number | null>("output_tokens").as("outputTokens"),
      eb.fn.sum<number | null>("cached_tokens").as("cachedTokens"),
      eb.fn.sum<number | null>("reasoning_tokens").as("reasoningTokens"),
    ])
    .where("session_id", "=", sessionId)
    .where("state", "<>", "running")
    .executeTakeFirst();
  const { turns, inputTokens, outputTokens, cachedTokens, reasoningTokens } = sums ?? { turns: 0 };
  return {
    turns: Number(turns),
    usage: {
      inputTokens: Number(inputTokens ?? 0),
      outputTokens: Number(outputTokens ?? 0),
      cachedTokens: Number(cachedTokens ?? 0),
      reasoningTokens: Number(reasoningTokens ?? 0),
    },
  };
}

async function hasSandbox(tx: Tx, sessionId: SessionId): Promise<boolean> {
  const row = await tx
    .selectFrom("sandboxes")
    .select("id")
    .where("session_id", "=", sessionId)
    .where("state", "in", ["starting", "ready"])
    .executeTakeFirst();
  return row !== undefined;
}

async function configured(tx: Tx, session: SessionsTable): Promise<Recovered["configured"]> {
  const { agent, configuration } = await sessionSetup(tx, session.id);
  return { configuration, agent: sessionAgent(agent) };
}

/**
 * Calls without a result that no step will come back to: of turns that are over, and of steps before the newest. A provider
 * refuses a conversation with such a gap, and what became of them nobody can say any more.
 */
async function healGaps(
  tx: Tx,
  sessionId: SessionId,
  now: { readonly turnId: string | undefined; readonly step: number },
): Promise<void> {
  const open = await tx
    .updateTable("tool_calls")
    .set((eb) => ({ epoch: eb("epoch", "+", 1), outcome: "unknown", state: "done" }))
    .where("session_id", "=", sessionId)
    .where("outcome", "is", null)
    .where((eb) =>
      now.turnId === undefined
        ? eb("turn_id", "is not", null)
        : eb.or([eb("turn_id", "<>", now.turnId), eb("step", "<", now.step)]),
    )
    .returningAll()
    .execute();
  if (open.length === 0) return;
  const text = "What this call did is unknown: what was recorded of it was lost. Look before you go on.";
  const result = { outcome: "unknown" as const, text };
  for (const call of open) {
    await placeResult(tx, call, result);
    await tx
      .updateTable("waits")
      .set({ state: "cancelled", decided_at: Date.now() })
      .where("call_id", "=", call.id)
      .where("state", "=", "pending")
      .execute();
  }
  await append(
    tx,
    sessionId,
    open.toSorted((a, b) => a.position - b.position).map((call) => completed(call, result)),
  );
}
