/** What a step's commit and a turn's end bring about together, in one order, or not at all. */
import { expect, test } from "vitest";
import { Agent, type AgentRef, ClientTool } from "../../contract/agents.ts";
import { createAgent } from "../../store/agents.ts";
import { askAgain, beginCall } from "../../store/calls.ts";
import { configureSession } from "../../store/configuration.ts";
import { contentHash } from "../../store/content-hash.ts";
import type { Database } from "../../store/database.ts";
import { beginStep, endStep, type MadeCall, publishReply } from "../../store/steps.ts";
import { endTurn } from "../../store/turns.ts";
import { openWait, type WaitRequest } from "../../store/waits.ts";
import { aCall, aMessage, anEnding, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";
import { ARGUMENTS, approval, callOf, HOUR_MS, question, statusOf } from "./waits-builder.ts";

async function aBegunStep() {
  const store = await temporaryStore();
  const { database } = store;
  const ids = await aMessage(database, await aSession(database));
  const begun = await aStep(database, ids);
  return { database, ids, begun, sessionId: ids.sessionId, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

const handOver = (to: AgentRef): MadeCall => ({
  ...aCall(`transfer_to_${to.id}`),
  answer: { outcome: "ok", text: `The conversation is now with ${to.id}.` },
  handOver: to,
});
const waiting = (request: WaitRequest = approval()): MadeCall => ({
  ...aCall("bash"),
  wait: { deadline: Date.now() + HOUR_MS, request },
});
const configurationOf = async (database: Database) =>
  await database.read.selectFrom("sessions").select(["agent_id", "configuration"]).executeTakeFirst();

test("a handoff is committed with its step, and the next step is the other agent's", async () => {
  await using step = await aBegunStep();
  const { database, ids, sessionId } = step;
  const profile = Agent.parse({ name: "the tester", instructions: "test" });
  await createAgent(database, { id: "tester", agent: profile, source: "api" });

  await endStep(database, step.begun, anEnding([handOver({ id: "tester", version: 1 })]));

  const next = await beginStep(database, { ...ids, step: 2 }, undefined);
  expect(next).toMatchObject({ setup: { agent: { name: "the tester" } } });
  expect((await logOf(database, sessionId)).find(({ type }) => type === "session.updated")).toMatchObject({
    agent: "the tester",
    agentRef: { id: "tester", version: 1 },
    turnId: ids.turnId,
  });
  expect(await configurationOf(database)).toEqual({ agent_id: "tester", configuration: 1 });
});

test("a handoff to a version that is gone commits nothing of its step", async () => {
  await using step = await aBegunStep();
  const before = await typesOf(step.database, step.sessionId);

  const ending = endStep(step.database, step.begun, anEnding([aCall(), handOver({ id: "gone", version: 7 })]));

  await expect(ending).rejects.toThrow("version 7 of agent gone is gone");
  expect(await typesOf(step.database, step.sessionId)).toEqual(before);
  expect(await step.database.read.selectFrom("tool_calls").selectAll().execute()).toEqual([]);
  expect(await configurationOf(step.database)).toEqual({ agent_id: null, configuration: 0 });
});

test("a call that is denied at once is never said to have started, one that cannot run is", async () => {
  await using step = await aBegunStep();
  const denied: MadeCall = { ...aCall(), answer: { outcome: "denied", text: "no" } };

  await endStep(step.database, step.begun, anEnding([denied, aCall("nope", "there is no such tool")]));

  const log = await logOf(step.database, step.sessionId);
  const ofCalls = log.flatMap((event) =>
    "callId" in event ? [[event.callId === denied.block.callId, event.type]] : [],
  );
  expect(ofCalls).toEqual([
    [true, "tool.completed"],
    [false, "tool.started"],
    [false, "tool.completed"],
  ]);
});

test("what a remembered decision said stands in the log before the call that it decided", async () => {
  await using step = await aBegunStep();
  const decided = { by: "grant", scope: "session", argumentsHash: contentHash({}), grantId: "grant_1" } as const;
  const allowed: MadeCall = { ...aCall(), decided: { ...decided, decision: "approve" } };
  const denied: MadeCall = {
    ...aCall(),
    decided: { ...decided, decision: "deny" },
    answer: { outcome: "denied", text: "no" },
  };

  await endStep(step.database, step.begun, anEnding([allowed, denied]));

  const log = (await logOf(step.database, step.sessionId)).slice(-3);
  expect(log).toMatchObject([
    { type: "approval.decided", callId: allowed.block.callId, by: "grant", decision: "approve" },
    { type: "approval.decided", callId: denied.block.callId, by: "grant", decision: "deny" },
    { type: "tool.completed", callId: denied.block.callId, outcome: "denied" },
  ]);
});

test("a session waits when one of a step's calls does, also beside calls that run", async () => {
  await using step = await aBegunStep();
  const { database, sessionId } = step;
  const [runs, waits] = [aCall(), waiting()];

  await endStep(database, step.begun, anEnding([runs, waits]));

  expect(await statusOf(database, sessionId)).toBe("waiting");
  expect((await callOf(database, sessionId, runs.block.callId)).row).toMatchObject({ state: "planned" });
  expect((await callOf(database, sessionId, waits.block.callId)).row).toMatchObject({ state: "waiting" });
});

test("an attempt that a newer one has superseded asks nobody", async () => {
  await using step = await aBegunStep();
  const { database, ids, sessionId } = step;
  const { block } = aCall("bash");
  await endStep(database, step.begun, anEnding([{ block }]));
  const old = await beginCall(database, { sessionId, callId: block.callId }, undefined);
  await beginCall(database, { sessionId, callId: block.callId }, undefined);
  if (old.state !== "begun") throw new Error("expected the call to begin");

  const place = { ...ids, step: 1, callId: block.callId, name: "bash", arguments: ARGUMENTS, argumentsHash: "" };
  const request = approval({ again: true });
  const asking = askAgain(database, old, {
    attempt: undefined,
    open: (tx) => openWait(tx, { ...place, deadline: Date.now() + HOUR_MS, request }),
  });

  await expect(asking).rejects.toThrow("has taken over");
  expect(await database.read.selectFrom("waits").selectAll().execute()).toEqual([]);
  expect((await callOf(database, sessionId, block.callId)).row).toMatchObject({ state: "running" });
});

test("the end of a turn says what it cuts off, then how it ended, then what follows from that", async () => {
  await using step = await aBegunStep();
  const { database, ids, sessionId } = step;
  const running = aCall("bash");
  const asked = waiting(question());
  await endStep(database, step.begun, anEnding([running, waiting(), asked]));
  await beginCall(database, { sessionId, callId: running.block.callId }, undefined);
  // No step begins while calls of the one before are open; here both are cut off at once.
  const row = { turn_id: ids.turnId, step: 2, epoch: 1, state: "running", failures: 0, result: null, taken_by: null };
  await database.write((tx) => tx.insertInto("steps").values(row).execute());
  const next = await aStep(database, ids, 2);
  const place = { turnId: ids.turnId, step: 2, index: 0 };
  await publishReply(database, next, [
    { type: "block.started", ...place, block: { type: "text" } },
    { type: "block.delta", ...place, text: "half" },
  ]);
  const late = await aMessage(database, sessionId, { mode: "steer" });
  const configuration = { clientTools: [ClientTool.parse({ name: "deploy" })] };
  await configureSession(database, sessionId, { configuration, backends: {} });
  const before = (await logOf(database, sessionId)).length;

  await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted", requeued: [late.messageId] });

  const said = (await typesOf(database, sessionId)).slice(before);
  expect(said[0]).toBe("block.completed");
  expect(said.slice(1, 3).sort()).toEqual(["approval.decided", "question.answered"]);
  expect(said.slice(3)).toEqual([
    "tool.completed",
    "tool.completed",
    "turn.interrupted",
    "message.queued",
    "session.updated",
  ]);
  expect(await statusOf(database, sessionId)).toBe("running");
  const open = database.read.selectFrom("waits").select("call_id").where("state", "=", "pending");
  expect(await open.execute()).toEqual([]);
});
