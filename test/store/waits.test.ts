/** Questions and tools that the caller runs: answered once, bounded by their deadline, ended with their turn. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { PostToolResult } from "../../contract/waits.ts";
import { answerQuestion, giveToolResult } from "../../store/answers.ts";
import { decideApproval } from "../../store/approvals.ts";
import { purgeSession } from "../../store/sessions.ts";
import { endTurn } from "../../store/turns.ts";
import { expireWait, markDelivered, undeliveredWaits, type WaitRequest } from "../../store/waits.ts";
import { logOf, temporaryStore } from "./store-builder.ts";
import {
  approval,
  aWaitingTurn,
  callOf,
  clientTool,
  decide,
  factsOf,
  question,
  statusOf,
  type Wanted,
} from "./waits-builder.ts";

async function aWaitingCall(request: WaitRequest, wanted: Wanted = {}) {
  const store = await temporaryStore();
  const { database } = store;
  const turn = await aWaitingTurn(database, [request], wanted);
  const [callId = "call_none"] = turn.calls;
  const dispose = () => store[Symbol.asyncDispose]();
  return { ...turn, database, key: { sessionId: turn.sessionId, callId }, callId, [Symbol.asyncDispose]: dispose };
}

const CHOICES = ["red", "green"];

describe("a question", () => {
  test.each<[string, object, object]>([
    ["a text", { answer: "blue" }, { answer: "blue" }],
    ["the index of a choice", { choice: 1 }, { answer: "green", choice: 1 }],
    ["the text of a choice", { answer: "red" }, { answer: "red", choice: 0 }],
  ])("is answered with %s, which is the call's result", async (_how, body, answered) => {
    await using waiting = await aWaitingCall(question({ choices: CHOICES }), { name: "ask_user" });
    const { database, sessionId, callId, key } = waiting;

    expect(await answerQuestion(database, { ...key, body })).toMatchObject({ ...answered, callId, by: "person" });

    expect((await factsOf(database, sessionId, callId)).slice(1)).toMatchObject([
      { type: "question.answered", ...answered, by: "person" },
      { type: "tool.completed", outcome: "ok" },
    ]);
    const { results } = await callOf(database, sessionId, callId);
    expect(results).toMatchObject([{ outcome: "ok", text: (answered as { answer: string }).answer }]);
    expect(await statusOf(database, sessionId)).toBe("running");
  });

  test.each<[string, WaitRequest, object, RegExp]>([
    [
      "another text where only choices count",
      question({ choices: CHOICES, allowFreeform: false }),
      { answer: "blue" },
      /0 "red", 1 "green"/,
    ],
    ["an index that is none", question({ choices: CHOICES }), { choice: 2 }, /0 "red", 1 "green"/],
    ["an index of no choices", question(), { choice: 0 }, /has no choices/],
  ])("refuses %s, and still waits", async (_what, request, body, words) => {
    await using waiting = await aWaitingCall(request);
    const { database, sessionId, key } = waiting;
    const before = await logOf(database, sessionId);

    const answering = answerQuestion(database, { ...key, body });

    await expect(answering).rejects.toMatchObject({ code: "INVALID_INPUT", message: expect.stringMatching(words) });
    expect(await logOf(database, sessionId)).toEqual(before);
    expect(await statusOf(database, sessionId)).toBe("waiting");
  });

  test("is answered once, and a second answer is told the first", async () => {
    await using waiting = await aWaitingCall(question());
    const { database, key } = waiting;
    await answerQuestion(database, { ...key, body: { answer: "yes" }, key: "k" });

    const second = answerQuestion(database, { ...key, body: { answer: "no" } });

    await expect(second).rejects.toMatchObject({ code: "ALREADY_DECIDED", first: { answer: "yes" } });
    expect(await answerQuestion(database, { ...key, body: { answer: "yes" }, key: "k" })).toMatchObject({
      answer: "yes",
    });
  });

  test("that nobody answers in time goes back to the model as that", async () => {
    await using waiting = await aWaitingCall(question());
    const { database, sessionId, callId, key } = waiting;

    expect(await expireWait(database, { ...key, kind: "question" })).toEqual({ next: "over" });

    expect((await factsOf(database, sessionId, callId)).slice(1)).toMatchObject([
      { type: "question.answered", answer: null, by: "deadline" },
      { type: "tool.completed", outcome: "error" },
    ]);
    const late = answerQuestion(database, { ...key, body: { answer: "yes" } });
    await expect(late).rejects.toMatchObject({ first: { answer: null, by: "deadline" } });
  });

  test("is no approval: approving it finds nothing", async () => {
    await using waiting = await aWaitingCall(question());
    const { database, key } = waiting;

    await expect(decideApproval(database, { ...key, body: decide("approve") })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });
});

describe("a tool that the caller runs", () => {
  test.each<[string, unknown, string]>([
    ["a text, as it is", "12 °C\n", "12 °C\n"],
    ["an object, as JSON", { degrees: [12] }, '{"degrees":[12]}'],
    ["null", null, "null"],
  ])("gives %s", async (_what, result, text) => {
    await using waiting = await aWaitingCall(clientTool());
    const { database, sessionId, callId, key } = waiting;

    await giveToolResult(database, { ...key, body: PostToolResult.parse({ result }) });

    expect((await callOf(database, sessionId, callId)).results).toMatchObject([{ outcome: "ok", text }]);
    expect((await factsOf(database, sessionId, callId)).map(({ type }) => type)).toEqual([
      "tool.requested",
      "tool.completed",
    ]);
  });

  test("gives an error, which is one for the model", async () => {
    await using waiting = await aWaitingCall(clientTool());
    const { database, sessionId, callId, key } = waiting;

    await giveToolResult(database, { ...key, body: { outcome: "error", result: "no network" } });

    expect((await callOf(database, sessionId, callId)).results).toMatchObject([
      { outcome: "error", text: "no network" },
    ]);
  });

  test("gives more than a model is shown, and the cut says so and splits no character", async () => {
    await using waiting = await aWaitingCall(clientTool());
    const { database, sessionId, callId, key } = waiting;

    await giveToolResult(database, {
      ...key,
      body: { outcome: "ok", result: `a${"°".repeat(LIMITS.toolResultBytes)}` },
    });

    const [result] = (await callOf(database, sessionId, callId)).results;
    const text = result?.type === "tool_result" ? result.text : "";
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(LIMITS.toolResultBytes);
    expect(text).toMatch(/°\n\[cut: this result has 65537 bytes, and its first \d+ are shown/);
    expect(text).not.toContain("\ufffd");
  });

  test("takes a result once: the second post is told the first", async () => {
    await using waiting = await aWaitingCall(clientTool());
    const { database, sessionId, callId, key } = waiting;
    await giveToolResult(database, { ...key, body: { outcome: "ok", result: 1 } });

    const second = giveToolResult(database, { ...key, body: { outcome: "error", result: 2 } });

    await expect(second).rejects.toMatchObject({ code: "ALREADY_DECIDED", first: { outcome: "ok", by: "person" } });
    expect((await callOf(database, sessionId, callId)).results).toMatchObject([{ text: "1" }]);
  });

  test.each([
    ["safe", "error"],
    ["keyed", "unknown"],
    ["ask", "unknown"],
  ] as const)("without a result in time, and with the replay rule %s, ends as %s", async (replay, outcome) => {
    await using waiting = await aWaitingCall(clientTool(replay));
    const { database, sessionId, callId, key } = waiting;

    await expireWait(database, { ...key, kind: "tool" });

    expect((await callOf(database, sessionId, callId)).results).toMatchObject([{ outcome }]);
  });
});

describe("a deadline", () => {
  test("denies an approval, and the workflow need not be told what it has asked for", async () => {
    await using waiting = await aWaitingCall(approval());
    const { database, sessionId, callId, key } = waiting;

    expect(await expireWait(database, { ...key, kind: "approval" })).toEqual({ next: "over" });

    expect((await factsOf(database, sessionId, callId)).slice(1)).toMatchObject([
      { type: "approval.decided", decision: "deny", by: "deadline" },
      { type: "tool.completed", outcome: "denied" },
    ]);
    expect(await statusOf(database, sessionId)).toBe("running");
    expect(await undeliveredWaits(database, { limit: 9 })).toEqual([]);
  });

  test("that is told twice changes nothing the second time", async () => {
    await using waiting = await aWaitingCall(approval());
    const { database, sessionId, key } = waiting;
    await expireWait(database, { ...key, kind: "approval" });
    const before = await logOf(database, sessionId);

    expect(await expireWait(database, { ...key, kind: "approval" })).toEqual({ next: "over" });

    expect(await logOf(database, sessionId)).toEqual(before);
  });

  test("that comes after a decision finds the decision", async () => {
    await using waiting = await aWaitingCall(approval());
    const { database, key } = waiting;
    await decideApproval(database, { ...key, body: decide("approve") });

    expect(await expireWait(database, { ...key, kind: "approval" })).toEqual({ next: "run" });
  });

  test("of a session that was purged is over", async () => {
    await using waiting = await aWaitingCall(approval());
    const { database, sessionId, key } = waiting;
    await purgeSession(database, sessionId);

    expect(await expireWait(database, { ...key, kind: "approval" })).toEqual({ next: "over" });
    expect(await database.read.selectFrom("waits").selectAll().execute()).toEqual([]);
  });
});

test("a turn's end ends all that it waits for, says so once, and leaves what was decided as it is", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const { ids, sessionId, calls } = await aWaitingTurn(database, [approval(), question(), clientTool(), approval()]);
  const [decided = "call_none", ...open] = calls;
  await decideApproval(database, { sessionId, callId: decided, body: decide("deny") });

  await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" });

  const said = await Promise.all(calls.map((callId) => factsOf(database, sessionId, callId)));
  expect(said.map((facts) => facts.slice(1).map((fact) => ("by" in fact ? fact.by : fact.type)))).toEqual([
    ["person", "tool.completed"],
    ["stop", "tool.completed"],
    ["tool.completed"],
    ["stop"],
  ]);
  for (const callId of open) {
    expect((await callOf(database, sessionId, callId)).results).toMatchObject([{ outcome: "interrupted" }]);
  }
  expect(await statusOf(database, sessionId)).toBe("idle");
});

test("what the workflow has heard is not told again, and an approval that was opened again is not taken for heard", async () => {
  await using waiting = await aWaitingCall(approval());
  const { database, key } = waiting;
  await decideApproval(database, { ...key, body: decide("approve") });
  const [undelivered] = await undeliveredWaits(database, { limit: 9 });
  if (!undelivered) throw new Error("expected a decision that is not delivered");

  await markDelivered(database, { ...undelivered, deadline: undelivered.deadline - 1 });
  expect(await undeliveredWaits(database, { limit: 9 })).toHaveLength(1);
  await markDelivered(database, undelivered);
  expect(await undeliveredWaits(database, { limit: 9 })).toEqual([]);
});
