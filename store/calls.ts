/** Tool calls: made by a step's commit, begun with an epoch by each attempt, ended once. */

import type { Agent } from "../contract/agents.ts";
import type { ToolCallBlock, ToolOutcome, TranscriptMessage } from "../contract/blocks.ts";
import type { Fact } from "../contract/events.ts";
import type { CallId, SessionId, TurnId } from "../contract/ids.ts";
import type { PlannedWait } from "../contract/steps.ts";
import type { WaitKind } from "../contract/waits.ts";
import { type Attempt, beginAttempt, endAttempt, takeOver } from "./attempts.ts";
import type { Database, Tx } from "./database.ts";
import { SupersededError, TakenOverError } from "./error.ts";
import { append } from "./event-log.ts";
import type { SpoolOffsets } from "./offsets.ts";
import { newestGeneration } from "./sandboxes.ts";
import type { ToolCallsTable } from "./schema.ts";
import { storedAgent } from "./session-setup.ts";
import { placeMessage } from "./transcript.ts";

/** A call as an attempt holds it. */
export interface BegunCall {
  readonly state: "begun";
  readonly call: ToolCallsTable;
  readonly arguments: ToolCallBlock["arguments"];
  readonly epoch: number;
  readonly published: SpoolOffsets;
  /** The session's, as it is now. */
  readonly agent: Agent;
  /** An attempt before this one had begun it and did not end it: what it did is unknown. */
  readonly wasRunning: boolean;
}
export type CallBegin =
  | BegunCall
  | { readonly state: "done"; readonly outcome: ToolOutcome }
  /** It waits for somebody's word, and is not begun without it. */
  | { readonly state: "waiting"; readonly wait: PlannedWait };

/** Takes the call for a new attempt, or finds its committed outcome. */
export async function beginCall(
  database: Database,
  ids: { readonly sessionId: SessionId; readonly callId: CallId },
  attempt: Attempt | undefined,
): Promise<CallBegin> {
  return await database.write(async (tx) => {
    const before = await tx
      .selectFrom("tool_calls")
      .innerJoin("sessions", "sessions.id", "tool_calls.session_id")
      .select(["tool_calls.state", "tool_calls.outcome", "tool_calls.taken_by", "sessions.agent"])
      .where("tool_calls.id", "=", ids.callId)
      .where("tool_calls.session_id", "=", ids.sessionId)
      .executeTakeFirst();
    if (!before) throw new SupersededError(`call ${ids.callId} of session ${ids.sessionId} is gone`);
    if (before.outcome !== null) return { state: "done", outcome: before.outcome as ToolOutcome };
    // Whatever a workflow believes. It may not have heard that an attempt before this one has given the call up to a person.
    if (before.state === "waiting") return { state: "waiting", wait: await pendingWait(tx, ids.callId) };
    const taken = takeOver(attempt, before.taken_by);
    const call = await tx
      .updateTable("tool_calls")
      .set((eb) => ({
        epoch: eb("epoch", "+", 1),
        taken_by: taken,
        state: "running",
        started_at: eb.fn.coalesce("started_at", eb.val(Date.now())),
        // Of the first attempt: what it did, it did there.
        generation: eb
          .case()
          .when("epoch", ">", 0)
          .then(eb.ref("generation"))
          .else(newestGeneration(ids.sessionId))
          .end(),
      }))
      .where("id", "=", ids.callId)
      .returningAll()
      .executeTakeFirstOrThrow();
    const args = JSON.parse(call.arguments) as ToolCallBlock["arguments"];
    if (call.epoch === 1) {
      await append(tx, ids.sessionId, [{ type: "tool.started", ...place(call), name: call.name, arguments: args }]);
    }
    await beginAttempt(tx, attempt);
    const published = { stdout: call.stdout_published, stderr: call.stderr_published };
    return {
      state: "begun",
      call,
      arguments: args,
      epoch: call.epoch,
      published,
      wasRunning: before.state === "running",
      agent: storedAgent(before.agent),
    };
  });
}

async function pendingWait(tx: Tx, callId: CallId): Promise<PlannedWait> {
  const wait = await tx
    .selectFrom("waits")
    .select(["kind", "deadline"])
    .where("call_id", "=", callId)
    .where("state", "=", "pending")
    .executeTakeFirst();
  if (!wait) throw new Error(`call ${callId} waits, but for nothing`);
  return { kind: wait.kind as WaitKind, deadline: wait.deadline };
}

/** Appends a call's output together with how far it reaches. */
export async function publishOutput(
  database: Database,
  begun: BegunCall,
  output: { readonly facts: readonly Fact[]; readonly upTo: SpoolOffsets },
): Promise<void> {
  await database.write((tx) => writeOutput(tx, begun, output));
}

async function writeOutput(
  tx: Tx,
  begun: BegunCall,
  output: { readonly facts: readonly Fact[]; readonly upTo: SpoolOffsets },
): Promise<void> {
  await touch(tx, begun, { stdout_published: output.upTo.stdout, stderr_published: output.upTo.stderr });
  await append(tx, begun.call.session_id, output.facts);
}

/** Commits what a call is about to do, so that its next attempt can tell whether it was done. */
export async function noteIntent(database: Database, begun: BegunCall, intent: string): Promise<void> {
  await database.write((tx) => touch(tx, begun, { intent }));
}

/** The sandbox of this attempt, the first, is another than the one that was there when it began. */
export async function noteGeneration(database: Database, begun: BegunCall, generation: number): Promise<void> {
  await database.write((tx) => touch(tx, begun, { generation }));
}

export interface CallEnding {
  readonly outcome: ToolOutcome;
  readonly text: string;
  /** Output not yet published. */
  readonly facts: readonly Fact[];
  /** What stands before the text: taken with the transaction that tells it, and not at all when that comes to nothing. */
  readonly news?: (tx: Tx) => Promise<string>;
}

/** Ends the call: its result in the transcript, its events and its row in one transaction. */
export async function endCall(
  database: Database,
  begun: BegunCall,
  ending: CallEnding & { readonly attempt: Attempt | undefined },
): Promise<void> {
  await database.write(async (tx) => {
    await touch(tx, begun, { outcome: ending.outcome, state: "done" });
    const told = { ...ending, text: ((await ending.news?.(tx)) ?? "") + ending.text };
    const result = begun.call.edited === 1 ? { ...told, text: withEdit(begun, told.text) } : told;
    await placeResult(tx, begun.call, result);
    await append(tx, begun.call.session_id, [...ending.facts, completed(begun.call, result)]);
    await endAttempt(tx, ending.attempt);
  });
}

/** The transcript holds what the model asked for; so it has to be told what was run instead. */
function withEdit(begun: BegunCall, text: string): string {
  return `[A person changed the arguments of this call to ${JSON.stringify(begun.arguments)} before it ran.]\n${text}`;
}

/** Gives a call whose outcome is unknown up to a person: it waits, and this attempt is over. */
export async function askAgain(
  database: Database,
  begun: BegunCall,
  wait: { readonly open: (tx: Tx) => Promise<Fact>; readonly attempt: Attempt | undefined },
): Promise<void> {
  await database.write(async (tx) => {
    await touch(tx, begun, { state: "waiting" });
    await append(tx, begun.call.session_id, [await wait.open(tx)]);
    await endAttempt(tx, wait.attempt);
  });
}

/** Writes to the call's row as its newest attempt. An older one meets SupersededError, and nothing of its transaction stays. */
async function touch(tx: Tx, begun: BegunCall, values: Partial<ToolCallsTable>): Promise<void> {
  const mine = await tx
    .updateTable("tool_calls")
    .set(values)
    .where("id", "=", begun.call.id)
    .where("epoch", "=", begun.epoch)
    .where("outcome", "is", null)
    .returning("id")
    .executeTakeFirst();
  if (!mine) throw new TakenOverError(`another attempt of call ${begun.call.id} has taken over`);
}

/** A call that has begun and not ended. */
export interface RunningCall {
  readonly callId: CallId;
  readonly name: string;
  readonly intent: string | undefined;
}

/** Calls of a turn that have begun and not ended: whoever ends the turn ends what they started. */
export async function runningCalls(
  database: Database,
  sessionId: SessionId,
  turnId: TurnId,
): Promise<readonly RunningCall[]> {
  const rows = await database.read
    .selectFrom("tool_calls")
    .select(["id", "name", "intent"])
    .where("turn_id", "=", turnId)
    .where("session_id", "=", sessionId)
    .where("state", "=", "running")
    .where("outcome", "is", null)
    .execute();
  return rows.map((row) => ({ callId: row.id as CallId, name: row.name, intent: row.intent ?? undefined }));
}

/** Puts the result where the transcript keeps its place. */
export async function placeResult(
  tx: Tx,
  call: Pick<ToolCallsTable, "id" | "session_id" | "position" | "provider_call_id" | "name">,
  result: { readonly outcome: ToolOutcome; readonly text: string },
): Promise<void> {
  const message: TranscriptMessage = {
    role: "tool",
    blocks: [
      {
        type: "tool_result",
        callId: call.id as CallId,
        ...(call.provider_call_id !== null && { providerCallId: call.provider_call_id }),
        name: call.name,
        outcome: result.outcome,
        text: result.text,
      },
    ],
  };
  await placeMessage(tx, call.session_id, { position: call.position, message });
}

/** Answers every call of a turn that has no result yet, as interrupted, and returns the facts of those that had begun. */
export async function openCalls(tx: Tx, sessionId: SessionId, turnId: TurnId): Promise<Fact[]> {
  const open = await tx
    .updateTable("tool_calls")
    .set((eb) => ({ epoch: eb("epoch", "+", 1), outcome: "interrupted", state: "done" }))
    .where("turn_id", "=", turnId)
    .where("session_id", "=", sessionId)
    .where("outcome", "is", null)
    .returningAll()
    .execute();
  const facts: Fact[] = [];
  // SQL promises no order of the rows an update returns.
  for (const call of open.toSorted((a, b) => a.position - b.position)) {
    const text =
      call.started_at === null
        ? "The turn was stopped before this tool was run."
        : "The turn was stopped while this tool ran.";
    await placeResult(tx, call, { outcome: "interrupted", text });
    if (call.started_at !== null) facts.push(completed(call, { outcome: "interrupted", text }));
  }
  return facts;
}

/** The fact that a call has its result. */
export function completed(
  call: ToolCallsTable,
  result: { readonly outcome: ToolOutcome; readonly text: string },
): Fact {
  return {
    type: "tool.completed",
    ...place(call),
    name: call.name,
    outcome: result.outcome,
    result: result.text,
    durationMs: Math.max(0, Date.now() - (call.started_at ?? Date.now())),
  };
}

function place(call: ToolCallsTable): { turnId: TurnId; step: number; callId: CallId } {
  return { turnId: call.turn_id as TurnId, step: call.step, callId: call.id as CallId };
}
