/** Steps: begun with an epoch by each attempt, streamed under it, committed once with everything they bring about. */
import type { AgentRef } from "../contract/agents.ts";
import type { ReplyBlock, ToolCallBlock, TranscriptMessage } from "../contract/blocks.ts";
import type { Fact } from "../contract/events.ts";
import type { MessageId } from "../contract/ids.ts";
import type { Failure, StepRequest, StepResult } from "../contract/steps.ts";
import { NO_USAGE, type Usage } from "../contract/usage.ts";
import { findAgentVersion } from "./agents.ts";
import { type Attempt, beginAttempt, endAttempt, takeOver } from "./attempts.ts";
import { type StateWrite, writeState } from "./backend-state.ts";
import { placeResult } from "./calls.ts";
import { changeAgent } from "./configuration.ts";
import { contentHash } from "./content-hash.ts";
import { withCurrentCalls } from "./current-calls.ts";
import type { Database, Tx } from "./database.ts";
import { SupersededError, TakenOverError } from "./error.ts";
import { append } from "./event-log.ts";
import { steerMessage } from "./messages.ts";
import { type SessionSetup, sessionSetup } from "./session-setup.ts";
import { appendMessages } from "./transcript.ts";
import { beginTurn } from "./turns.ts";
import { type NewWait, openWait } from "./waits.ts";

/** A step as an attempt holds it. */
export interface BegunStep {
  readonly state: "begun";
  readonly key: StepRequest;
  readonly epoch: number;
  /** Model calls of this step that failed before. */
  readonly failures: number;
  readonly setup: SessionSetup;
  /** Times the agent was asked again in this turn for an answer that matches its schema. */
  readonly reAsked: number;
}
export type StepBegin =
  | BegunStep
  | {
      readonly state: "done";
      readonly result: StepResult;
      readonly setup: SessionSetup | undefined;
      /** Messages that were to join with it and have not. */
      readonly late: readonly MessageId[];
    };

/** Takes the step for a new attempt, or finds its committed result. The turn's first step begins the turn. */
export async function beginStep(
  database: Database,
  key: StepRequest,
  attempt: Attempt | undefined,
): Promise<StepBegin> {
  const { sessionId, turnId, step } = key;
  return await database.write(async (tx) => {
    const row = await tx
      .selectFrom("steps")
      .selectAll()
      .where("turn_id", "=", turnId)
      .where("step", "=", step)
      .executeTakeFirst();
    if (row?.state === "done" && row.result !== null) {
      const result = await withCurrentCalls(tx, JSON.parse(row.result) as StepResult);
      return { state: "done", result, setup: await sessionSetup(tx, sessionId), late: await notJoined(tx, key) };
    }
    const facts: Fact[] = [];
    if (step === 1) {
      const begun = await beginTurn(tx, key);
      if (begun === "removed")
        return { state: "done", result: { next: "skipped", usage: NO_USAGE }, setup: undefined, late: [] };
      facts.push(...begun);
    }
    const turn = await tx.selectFrom("turns").select(["state", "re_asked"]).where("id", "=", turnId).executeTakeFirst();
    if (turn?.state !== "running") throw new SupersededError(`turn ${turnId} is over, or not known here`);
    if (!row && step > 1) await requireStepBefore(tx, { turnId, step });
    const taken = takeOver(attempt, row?.taken_by);
    const epoch = (row?.epoch ?? 0) + 1;
    if (row) {
      await tx
        .updateTable("steps")
        .set({ epoch, taken_by: taken })
        .where("turn_id", "=", turnId)
        .where("step", "=", step)
        .execute();
      facts.push({ type: "step.restarted", turnId, step, attempt: epoch });
    } else {
      await tx
        .insertInto("steps")
        .values({ turn_id: turnId, step, epoch, state: "running", failures: 0, result: null, taken_by: taken })
        .execute();
      facts.push({ type: "step.started", turnId, step });
    }
    facts.push(...(await steer(tx, key, key.steer ?? [])));
    await append(tx, sessionId, facts);
    await beginAttempt(tx, attempt);
    const setup = await sessionSetup(tx, sessionId);
    return { state: "begun", key, epoch, failures: row?.failures ?? 0, setup, reAsked: turn.re_asked };
  });
}

async function notJoined(tx: Tx, { sessionId, steer = [] }: StepRequest): Promise<readonly MessageId[]> {
  if (steer.length === 0) return [];
  const rows = await tx
    .selectFrom("messages")
    .select("id")
    .where("session_id", "=", sessionId)
    .where("id", "in", [...steer])
    .where("state", "in", ["received", "submitted"])
    .execute();
  return rows.map(({ id }) => id as MessageId);
}

/** A workflow may be newer than rows that were restored: what it would go on from is not there, and it has to begin from what is. */
async function requireStepBefore(tx: Tx, of: { readonly turnId: string; readonly step: number }): Promise<void> {
  const before = await tx
    .selectFrom("steps")
    .select("state")
    .where("turn_id", "=", of.turnId)
    .where("step", "=", of.step - 1)
    .executeTakeFirst();
  const open = await tx
    .selectFrom("tool_calls")
    .select("id")
    .where("turn_id", "=", of.turnId)
    .where("outcome", "is", null)
    .executeTakeFirst();
  if (before?.state === "done" && !open) return;
  throw new SupersededError(`step ${of.step} of turn ${of.turnId} follows on nothing that is known here`);
}

/** Takes messages into the running turn: once each, however often the step is attempted. */
async function steer(tx: Tx, key: StepRequest, messages: readonly MessageId[]): Promise<Fact[]> {
  const facts: Fact[] = [];
  for (const messageId of messages) {
    const blocks = await steerMessage(tx, key, messageId);
    if (!blocks) continue;
    await appendMessages(tx, key.sessionId, [{ role: "user", blocks: [...blocks] }]);
    facts.push({ type: "message.steered", messageId, turnId: key.turnId, step: key.step });
  }
  return facts;
}

/** Appends what the reply has streamed. Throws SupersededError, and writes nothing, when a newer attempt has begun. */
export async function publishReply(database: Database, begun: BegunStep, facts: readonly Fact[]): Promise<void> {
  await database.write(async (tx) => {
    await touch(tx, begun, {});
    await append(tx, begun.key.sessionId, facts);
  });
}

/** Notes a model call that failed and will be tried again. */
export async function failAttempt(
  database: Database,
  begun: BegunStep,
  failed: {
    readonly facts: readonly Fact[];
    readonly failure: Failure;
    readonly retryInMs: number;
    readonly attempt: Attempt | undefined;
  },
): Promise<void> {
  const { sessionId, turnId, step } = begun.key;
  await database.write(async (tx) => {
    await touch(tx, begun, { failures: begun.failures + 1 });
    await append(tx, sessionId, [
      ...failed.facts,
      { type: "error", turnId, step, ...failed.failure, retryInMs: failed.retryInMs },
    ]);
    await endAttempt(tx, failed.attempt);
  });
}

/** A call of the reply, as the step's commit makes it: to be run, to wait, or answered at once. */
export interface MadeCall {
  readonly block: ToolCallBlock;
  /** Set when the call has its result already: it cannot be run, it is denied, or it was a handoff. */
  readonly answer?: { readonly outcome: "ok" | "error" | "denied"; readonly text: string };
  /** Set when it waits for somebody. */
  readonly wait?: Pick<NewWait, "deadline" | "request">;
  /** What was decided of it by a remembered decision. */
  readonly decided?: Omit<Extract<Fact, { type: "approval.decided" }>, "type" | "turnId" | "step" | "callId">;
  /** The agent that goes on after this step. */
  readonly handOver?: AgentRef;
}

export interface StepEnding {
  readonly result: StepResult;
  readonly model: string;
  readonly usage: Usage;
  readonly blocks: readonly ReplyBlock[];
  readonly calls: readonly MadeCall[];
  /** Facts of the reply not yet published. */
  readonly facts: readonly Fact[];
  /** What the agent is told before its next step. */
  readonly reAsk?: string;
  readonly structuredOutput?: unknown;
  /** What the backend needs to go on from here. */
  readonly state?: StateWrite;
  readonly attempt: Attempt | undefined;
}

/** Commits the step: reply, calls, usage, events and result in one transaction. */
export async function endStep(database: Database, begun: BegunStep, ending: StepEnding): Promise<void> {
  const { sessionId, turnId, step } = begun.key;
  await database.write(async (tx) => {
    await touch(tx, begun, { state: "done", result: JSON.stringify(ending.result) });
    const messages = replyMessages(ending);
    const next = await appendMessages(tx, sessionId, messages, ending.calls.length);
    const facts: Fact[] = [...ending.facts];
    if (ending.result.next !== "failed") {
      facts.push({ type: "step.completed", turnId, step, model: ending.model, usage: ending.usage });
    }
    facts.push(...(await makeCalls(tx, begun, { calls: ending.calls, first: next - ending.calls.length })));
    if (ending.reAsk !== undefined) {
      await appendMessages(tx, sessionId, [{ role: "user", blocks: [{ type: "text", text: ending.reAsk }] }]);
    }
    await addToTurn(tx, begun, ending);
    if (ending.state) await writeState(tx, begun.key, ending.state);
    for (const { handOver } of ending.calls) {
      if (handOver) facts.push(await handTo(tx, begun.key, handOver));
    }
    await append(tx, sessionId, facts);
    await endAttempt(tx, ending.attempt);
  });
}

/** The next step is another agent's. Versions are never deleted, so one that was pinned is there. */
async function handTo(tx: Tx, key: StepRequest, agentRef: AgentRef): Promise<Fact> {
  const stored = await findAgentVersion(tx, agentRef);
  if (!stored) throw new Error(`version ${agentRef.version} of agent ${agentRef.id} is gone`);
  return await changeAgent(tx, key.sessionId, { agent: stored.agent, agentRef, turnId: key.turnId });
}

function replyMessages(ending: StepEnding): TranscriptMessage[] {
  return ending.blocks.length > 0 ? [{ role: "assistant", blocks: [...ending.blocks] }] : [];
}

async function makeCalls(
  tx: Tx,
  begun: BegunStep,
  made: { readonly calls: readonly MadeCall[]; readonly first: number },
): Promise<Fact[]> {
  const { sessionId, turnId, step } = begun.key;
  const facts: Fact[] = [];
  for (const [index, { block, answer, wait, decided }] of made.calls.entries()) {
    const { callId, name } = block;
    const call = {
      id: callId,
      session_id: sessionId,
      turn_id: turnId,
      step,
      position: made.first + index,
      provider_call_id: block.providerCallId ?? null,
      name,
      arguments: JSON.stringify(block.arguments),
      arguments_hash: contentHash(block.arguments),
      epoch: 0,
      state: answer ? "done" : wait ? "waiting" : "planned",
      started_at: null,
      intent: null,
      stdout_published: 0,
      stderr_published: 0,
      outcome: answer?.outcome ?? null,
      edited: 0,
      generation: 0,
      taken_by: null,
    };
    await tx.insertInto("tool_calls").values(call).execute();
    const place = { turnId, step, callId };
    if (decided) facts.push({ type: "approval.decided", ...place, ...decided });
    if (answer) {
      await placeResult(tx, call, answer);
      // A call that was denied has not been started.
      if (answer.outcome !== "denied") facts.push({ type: "tool.started", ...place, name, arguments: block.arguments });
      const { outcome, text } = answer;
      facts.push({ type: "tool.completed", ...place, name, outcome, result: text, durationMs: 0 });
    }
    if (wait) {
      const asked = { arguments: block.arguments, argumentsHash: call.arguments_hash };
      facts.push(await openWait(tx, { sessionId, ...place, name, ...asked, ...wait }));
    }
  }
  return facts;
}

async function addToTurn(tx: Tx, begun: BegunStep, ending: StepEnding): Promise<void> {
  const text = ending.blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("\n");
  await tx
    .updateTable("turns")
    .set((eb) => ({
      steps: begun.key.step,
      input_tokens: eb("input_tokens", "+", ending.usage.inputTokens),
      output_tokens: eb("output_tokens", "+", ending.usage.outputTokens),
      cached_tokens: eb("cached_tokens", "+", ending.usage.cachedTokens),
      reasoning_tokens: eb("reasoning_tokens", "+", ending.usage.reasoningTokens),
      ...(text !== "" && { output: text }),
      ...(ending.reAsk !== undefined && { re_asked: begun.reAsked + 1 }),
      ...(ending.structuredOutput !== undefined && { structured_output: JSON.stringify(ending.structuredOutput) }),
    }))
    .where("id", "=", begun.key.turnId)
    .execute();
}

/** Writes to the step's row as its newest attempt. An older one meets SupersededError, and nothing of its transaction stays. */
async function touch(
  tx: Tx,
  begun: BegunStep,
  values: { state?: string; result?: string; failures?: number },
): Promise<void> {
  const { turnId, step } = begun.key;
  const mine =
    Object.keys(values).length > 0
      ? await tx
          .updateTable("steps")
          .set(values)
          .where("turn_id", "=", turnId)
          .where("step", "=", step)
          .where("epoch", "=", begun.epoch)
          .where("state", "=", "running")
          .returning("step")
          .executeTakeFirst()
      : await tx
          .selectFrom("steps")
          .select("step")
          .where("turn_id", "=", turnId)
          .where("step", "=", step)
          .where("epoch", "=", begun.epoch)
          .where("state", "=", "running")
          .executeTakeFirst();
  if (!mine) throw new TakenOverError(`another attempt of step ${step} of turn ${turnId} has taken over`);
}
