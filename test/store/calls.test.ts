/** A tool call is run by its newest attempt only, publishes each byte of output once, and has one result in its own place. */
import { expect, test } from "vitest";
import type { ToolOutcome } from "../../contract/blocks.ts";
import type { Fact } from "../../contract/events.ts";
import { type BegunCall, beginCall, endCall, noteIntent, publishOutput } from "../../store/calls.ts";
import { SupersededError } from "../../store/error.ts";
import { purgeSession } from "../../store/sessions.ts";
import { endStep } from "../../store/steps.ts";
import { messagesAfter } from "../../store/transcript.ts";
import { endTurn } from "../../store/turns.ts";
import { aCall, aMessage, anEnding, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

/** A turn whose first step has made some calls. */
async function aStepWithCalls(number = 1) {
  const store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const ids = await aMessage(database, sessionId);
  const calls = Array.from({ length: number }, () => aCall("bash"));
  await endStep(database, await aStep(database, ids), anEnding(calls));
  const begin = async (index = 0): Promise<BegunCall> => {
    const callId = calls[index]?.block.callId ?? "call_none";
    const begun = await beginCall(database, { sessionId, callId }, undefined);
    if (begun.state !== "begun") throw new Error("expected the call to begin; it is done");
    return begun;
  };
  const output = (text: string, index = 0): Fact => ({
    type: "tool.output",
    turnId: ids.turnId,
    step: 1,
    callId: calls[index]?.block.callId ?? "call_none",
    stream: "stdout",
    text,
  });
  const dispose = () => store[Symbol.asyncDispose]();
  return { database, sessionId, ids, calls, begin, output, [Symbol.asyncDispose]: dispose };
}

const anEnd = (text = "fine", outcome: ToolOutcome = "ok") => ({ outcome, text, facts: [], attempt: undefined });

test("an attempt that a newer one has superseded publishes nothing, notes nothing and ends nothing", async () => {
  await using turn = await aStepWithCalls();
  const { database, sessionId, begin, output } = turn;
  const old = await begin();
  await begin();
  const before = await logOf(database, sessionId);

  const results = await Promise.allSettled([
    publishOutput(database, old, { facts: [output("a")], upTo: { stdout: 1, stderr: 0 } }),
    noteIntent(database, old, "about to write"),
    endCall(database, old, { ...anEnd(), facts: [output("b")] }),
  ]);

  for (const result of results) {
    expect(result).toMatchObject({ status: "rejected", reason: { name: "SupersededError" } });
  }
  expect(await logOf(database, sessionId)).toEqual(before);
  const row = await database.read.selectFrom("tool_calls").selectAll().executeTakeFirstOrThrow();
  expect(row).toMatchObject({ epoch: 2, stdout_published: 0, intent: null, outcome: null });
});

test("the next attempt knows how far output was published and what was intended, and the start is said once", async () => {
  await using turn = await aStepWithCalls();
  const { database, sessionId, begin, output } = turn;
  const first = await begin();
  await publishOutput(database, first, { facts: [output("abc")], upTo: { stdout: 3, stderr: 5 } });
  await noteIntent(database, first, "write b.txt");

  const second = await begin();

  expect(second).toMatchObject({ epoch: 2, published: { stdout: 3, stderr: 5 }, call: { intent: "write b.txt" } });
  expect(second.call.started_at).toBe(first.call.started_at);
  expect((await typesOf(database, sessionId)).filter((type) => type === "tool.started")).toHaveLength(1);
});

test("output and how far it reaches are committed together or not at all", async () => {
  await using turn = await aStepWithCalls();
  const { database, sessionId, begin, output } = turn;
  const begun = await begin();
  const before = await logOf(database, sessionId);
  const cyclic = { ...output("x"), text: 1n as unknown as string }; // JSON refuses it, after the offsets were written.

  await expect(
    publishOutput(database, begun, { facts: [output("a"), cyclic], upTo: { stdout: 9, stderr: 9 } }),
  ).rejects.toThrow(TypeError);

  expect(await logOf(database, sessionId)).toEqual(before);
  expect((await begin()).published).toEqual({ stdout: 0, stderr: 0 });
});

test("a committed call is found again and never begun again", async () => {
  await using turn = await aStepWithCalls();
  const { database, sessionId, calls, begin } = turn;
  await endCall(database, await begin(), anEnd("no such file", "error"));
  const before = await logOf(database, sessionId);
  const callId = calls[0]?.block.callId ?? "call_none";

  const again = await beginCall(database, { sessionId, callId }, undefined);

  expect(again).toEqual({ state: "done", outcome: "error" });
  expect(await logOf(database, sessionId)).toEqual(before);
});

test("a call ends once: its own attempt cannot end it again", async () => {
  await using turn = await aStepWithCalls();
  const { database, sessionId, begin } = turn;
  const begun = await begin();
  await endCall(database, begun, anEnd("first"));

  await expect(endCall(database, begun, anEnd("second"))).rejects.toThrow(SupersededError);

  const results = (await messagesAfter(database, sessionId, { after: 2 })).map(({ message }) => message.blocks[0]);
  expect(results).toMatchObject([{ type: "tool_result", text: "first" }]);
});

test("a call of another session, or of none, cannot be begun, also when it is done", async () => {
  await using turn = await aStepWithCalls();
  const { database, calls, begin } = turn;
  const callId = calls[0]?.block.callId ?? "call_none";
  const stranger = await aSession(database);

  await expect(beginCall(database, { sessionId: stranger, callId }, undefined)).rejects.toThrow(SupersededError);
  await endCall(database, await begin(), anEnd());
  await expect(beginCall(database, { sessionId: stranger, callId }, undefined)).rejects.toThrow(SupersededError);
  await expect(beginCall(database, { sessionId: stranger, callId: "call_none" }, undefined)).rejects.toThrow(/is gone/);
});

test("results of parallel calls stand in call order, in whatever order they end", async () => {
  await using turn = await aStepWithCalls(5);
  const { database, sessionId, begin, calls } = turn;
  const begun = await Promise.all([0, 1, 2, 3, 4].map((index) => begin(index)));

  for (const index of [3, 0, 4, 2, 1]) {
    const each = begun[index];
    if (each) await endCall(database, each, anEnd(`result ${index}`));
  }

  const results = (await messagesAfter(database, sessionId, { after: 2 })).map(({ message }) => message.blocks[0]);
  expect(results).toMatchObject(calls.map(({ block }, index) => ({ callId: block.callId, text: `result ${index}` })));
});

test("a turn's end gives every open call a result, supersedes its attempt, and says the end of those that had begun", async () => {
  await using turn = await aStepWithCalls(4);
  const { database, sessionId, ids, begin, calls } = turn;
  const [running, done] = [await begin(1), await begin(2)];
  await endCall(database, done, anEnd());
  await begin(3);

  await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" });

  await expect(endCall(database, running, anEnd("late"))).rejects.toThrow(SupersededError);
  const results = (await messagesAfter(database, sessionId, { after: 2 })).map(({ message }) => message.blocks[0]);
  expect(results.map((block) => block?.type === "tool_result" && block.outcome)).toEqual([
    "interrupted",
    "interrupted",
    "ok",
    "interrupted",
  ]);
  expect(results[0]).toMatchObject({ text: expect.stringContaining("before this tool was run") });
  const ends = (await logOf(database, sessionId)).flatMap((event) =>
    event.type === "tool.completed" ? [[event.callId, event.outcome]] : [],
  );
  expect(ends).toEqual([
    [calls[2]?.block.callId, "ok"],
    [calls[1]?.block.callId, "interrupted"],
    [calls[3]?.block.callId, "interrupted"],
  ]);
});

test("a call that waited when its turn ended is done and is not run after all", async () => {
  await using turn = await aStepWithCalls();
  const { database, sessionId, ids, calls } = turn;
  await endTurn(database, { ...ids, outcome: "interrupted", reason: "closed" });
  const callId = calls[0]?.block.callId ?? "call_none";

  const begun = await beginCall(database, { sessionId, callId }, undefined);

  expect(begun).toEqual({ state: "done", outcome: "interrupted" });
});

test("an attempt whose session was purged under it writes nothing", async () => {
  await using turn = await aStepWithCalls();
  const { database, sessionId, begin, output } = turn;
  const begun = await begin();
  await purgeSession(database, sessionId);

  const published = publishOutput(database, begun, { facts: [output("a")], upTo: { stdout: 1, stderr: 0 } });

  await expect(published).rejects.toThrow(SupersededError);
  await expect(endCall(database, begun, anEnd())).rejects.toThrow(SupersededError);
  expect(await database.read.selectFrom("events").selectAll().execute()).toEqual([]);
});
