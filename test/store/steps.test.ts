/** A step is begun by epoch, written only by its newest attempt, and committed once with everything it brings about. */
import { expect, test } from "vitest";
import type { Fact } from "../../contract/events.ts";
import type { TurnId } from "../../contract/ids.ts";
import type { Failure } from "../../contract/steps.ts";
import { SupersededError } from "../../store/error.ts";
import { closeSession } from "../../store/session-closing.ts";
import { purgeSession } from "../../store/sessions.ts";
import { beginStep, endStep, failAttempt, publishReply } from "../../store/steps.ts";
import { messagesAfter } from "../../store/transcript.ts";
import { endTurn } from "../../store/turns.ts";
import { aCall, aMessage, anEnding, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

const FAILURE: Failure = { code: "RATE_LIMIT", message: "too many requests", retryable: true };
const delta = (turnId: TurnId, text = "x"): Fact => ({ type: "block.delta", turnId, step: 1, index: 0, text });
const count = (n: number) => ({ inputTokens: n, outputTokens: 2 * n, cachedTokens: 3 * n, reasoningTokens: 4 * n });

async function aTurn() {
  const store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const ids = await aMessage(store.database, sessionId);
  return { store, database: store.database, sessionId, ids, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

test("an attempt that a newer one has superseded writes nothing, whatever it tries", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const old = await aStep(database, ids);
  await aStep(database, ids);
  const before = await logOf(database, sessionId);

  const attempt = undefined;
  const published = publishReply(database, old, [delta(ids.turnId)]);
  const failed = failAttempt(database, old, { facts: [], failure: FAILURE, retryInMs: 1, attempt });
  const ended = endStep(database, old, anEnding([aCall(), aCall("gone", "no such tool")]));

  for (const result of await Promise.allSettled([published, failed, ended])) {
    expect(result).toMatchObject({ status: "rejected", reason: { name: "SupersededError" } });
  }
  expect(await logOf(database, sessionId)).toEqual(before);
  expect(await messagesAfter(database, sessionId, { after: 0 })).toHaveLength(1);
  expect(await database.read.selectFrom("tool_calls").selectAll().execute()).toEqual([]);
  const row = await database.read.selectFrom("steps").selectAll().executeTakeFirstOrThrow();
  expect(row).toMatchObject({ epoch: 2, state: "running", failures: 0, result: null });
});

test("a new attempt says that the step restarted, and which attempt it is", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;

  await aStep(database, ids);
  await aStep(database, ids);
  const third = await aStep(database, ids);

  expect(third.epoch).toBe(3);
  const log = await logOf(database, sessionId);
  expect(log.filter((event) => event.type === "step.started")).toHaveLength(1);
  expect(log.flatMap((event) => (event.type === "step.restarted" ? [event.attempt] : []))).toEqual([2, 3]);
  expect(log.filter((event) => event.type === "turn.started")).toHaveLength(1);
});

test("a committed step is found again, by any number of repeats, and nothing is added to the log", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const ending = anEnding([aCall()], { usage: count(1) });
  await endStep(database, await aStep(database, ids), ending);
  const before = await logOf(database, sessionId);

  const repeats = await Promise.all([1, 2, 3].map(() => beginStep(database, { ...ids, step: 1 }, undefined)));

  for (const repeat of repeats) expect(repeat).toMatchObject({ state: "done", result: ending.result });
  expect(await logOf(database, sessionId)).toEqual(before);
});

test("a committed step cannot be ended or streamed to once more, not even by the attempt that committed it", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const begun = await aStep(database, ids);
  await endStep(database, begun, anEnding());
  const before = await logOf(database, sessionId);

  await expect(endStep(database, begun, anEnding())).rejects.toThrow(SupersededError);
  await expect(publishReply(database, begun, [delta(ids.turnId)])).rejects.toThrow(SupersededError);

  expect(await logOf(database, sessionId)).toEqual(before);
});

test("a step of a turn that is over cannot begin, be it the first or a later one", async () => {
  await using turn = await aTurn();
  const { database, ids } = turn;
  await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" });

  await expect(beginStep(database, { ...ids, step: 1 }, undefined)).rejects.toThrow(/is over/);
  await expect(beginStep(database, { ...ids, step: 2 }, undefined)).rejects.toThrow(SupersededError);
});

test("a later step cannot begin a turn, and a step of an unknown message or session cannot begin at all", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const before = await logOf(database, sessionId);

  await expect(beginStep(database, { ...ids, step: 2 }, undefined)).rejects.toThrow(SupersededError);
  await expect(beginStep(database, { ...ids, messageId: "other", step: 1 }, undefined)).rejects.toThrow(/is gone/);
  await expect(beginStep(database, { ...ids, sessionId: "other", step: 1 }, undefined)).rejects.toThrow(/gone/);

  expect(await logOf(database, sessionId)).toEqual(before);
});

test("a turn does not begin in a session that is closed, and its status stays closed", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  await closeSession(database, sessionId);
  const before = await logOf(database, sessionId);

  await expect(beginStep(database, { ...ids, step: 1 }, undefined)).rejects.toThrow(SupersededError);
  await endTurn(database, { ...ids, outcome: "interrupted", reason: "closed" });

  expect(await logOf(database, sessionId)).toEqual(before);
  const row = await database.read.selectFrom("sessions").select("status").executeTakeFirstOrThrow();
  expect(row.status).toBe("closed");
});

test("an attempt whose session was purged under it writes nothing", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const begun = await aStep(database, ids);
  await purgeSession(database, sessionId);

  await expect(publishReply(database, begun, [delta(ids.turnId)])).rejects.toThrow(SupersededError);
  await expect(endStep(database, begun, anEnding())).rejects.toThrow(SupersededError);

  expect(await database.read.selectFrom("events").selectAll().execute()).toEqual([]);
  expect(await database.read.selectFrom("transcript").selectAll().execute()).toEqual([]);
});

test("a failed attempt is in the log with what it had streamed, and the next one knows how many failed", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  for (const failures of [0, 1]) {
    const begun = await aStep(database, ids);
    expect(begun.failures).toBe(failures);
    const facts = [delta(ids.turnId)];
    await failAttempt(database, begun, { facts, failure: FAILURE, retryInMs: 700, attempt: undefined });
  }

  expect((await aStep(database, ids)).failures).toBe(2);
  const types = (await typesOf(database, sessionId)).slice(4);
  expect(types).toEqual(["block.delta", "error", "step.restarted", "block.delta", "error", "step.restarted"]);
  const error = (await logOf(database, sessionId)).find((event) => event.type === "error");
  expect(error).toMatchObject({ ...FAILURE, step: 1, turnId: ids.turnId, retryInMs: 700 });
});

test("calls that are refused at once have their results in call order, between places kept for the others", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const calls = [aCall("bash"), aCall("one", "no one"), aCall("grep"), aCall("two", "no two")];
  await endStep(database, await aStep(database, ids), anEnding(calls));

  const placed = await messagesAfter(database, sessionId, { after: 0 });

  expect(placed.map(({ position, message }) => [position, message.role])).toEqual([
    [1, "user"],
    [2, "assistant"],
    [4, "tool"],
    [6, "tool"],
  ]);
  expect(placed[2]?.message.blocks).toMatchObject([
    { callId: calls[1]?.block.callId, outcome: "error", text: "no one" },
  ]);
  const facts = (await logOf(database, sessionId)).slice(-4);
  expect(facts.map((fact) => fact.type)).toEqual(["tool.started", "tool.completed", "tool.started", "tool.completed"]);
});

test("the tokens of all steps are summed, and the turn's end says them", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  await endStep(database, await aStep(database, ids, 1), anEnding([aCall("x", "no")], { usage: count(10) }));
  await endStep(database, await aStep(database, ids, 2), anEnding([], { usage: count(1) }));
  await endTurn(database, { ...ids, outcome: "completed" });

  const end = (await logOf(database, sessionId)).at(-1);
  expect(end).toMatchObject({ type: "turn.completed", steps: 2, usage: count(11), output: "done" });
});

test("asking again is counted, is told to the agent after its answer, and the structured answer ends the turn", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const first = await aStep(database, ids, 1);
  expect(first.reAsked).toBe(0);
  const result = { next: "calls" as const, calls: [], usage: count(1) };
  await endStep(database, first, anEnding([], { result, reAsk: "answer in JSON" }));

  const second = await aStep(database, ids, 2);
  expect(second.reAsked).toBe(1);
  await endStep(database, second, anEnding([], { structuredOutput: { fine: null } }));
  await endTurn(database, { ...ids, outcome: "completed" });

  const placed = await messagesAfter(database, sessionId, { after: 0 });
  expect(placed.map(({ message }) => message.role)).toEqual(["user", "assistant", "user", "assistant"]);
  expect(placed[2]?.message.blocks).toEqual([{ type: "text", text: "answer in JSON" }]);
  expect((await logOf(database, sessionId)).at(-1)).toMatchObject({ structuredOutput: { fine: null } });
});

test("a step that fails for good leaves no reply in the transcript and no completed step in the log", async () => {
  await using turn = await aTurn();
  const { database, ids, sessionId } = turn;
  const result = { next: "failed" as const, failure: FAILURE, usage: count(0) };
  await endStep(database, await aStep(database, ids), anEnding([], { result, blocks: [] }));
  await endTurn(database, { ...ids, outcome: "failed", failure: FAILURE });

  expect(await messagesAfter(database, sessionId, { after: 1 })).toEqual([]);
  const log = await logOf(database, sessionId);
  expect(log.map((event) => event.type)).not.toContain("step.completed");
  expect(log.at(-1)).toMatchObject({ type: "turn.failed", ...FAILURE });
});

test("ten attempts that begin at once have ten epochs, and only the last can commit", async () => {
  await using turn = await aTurn();
  const { database, ids } = turn;
  const begun = await Promise.all(Array.from({ length: 10 }, () => aStep(database, ids)));

  const ended = await Promise.allSettled(begun.map((each) => endStep(database, each, anEnding())));

  expect(begun.map((each) => each.epoch).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const winners = begun.filter((_, index) => ended[index]?.status === "fulfilled");
  expect(winners.map((each) => each.epoch)).toEqual([10]);
});
