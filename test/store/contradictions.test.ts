/** Contradicting decisions from many at once: exactly one stands for each call, and all that it means with it, whoever is killed meanwhile. */
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { type CallId, newId, type SessionId } from "../../contract/ids.ts";
import { decideApproval } from "../../store/approvals.ts";
import { type Database, openDatabase } from "../../store/database.ts";
import { endTurn } from "../../store/turns.ts";
import { expireWait } from "../../store/waits.ts";
import { type ChildProgram, startProgram } from "./fixtures/child-program.ts";
import { temporaryStore } from "./store-builder.ts";
import { approval, aWaitingTurn, callOf, decide, factsOf } from "./waits-builder.ts";

const RIVALS = 20;

test("of 20 contradicting decisions over several connections exactly one is taken, and all others are told it", async () => {
  await using store = await temporaryStore();
  const { sessionId, calls } = await aWaitingTurn(store.database, [approval()]);
  const [callId = "call_none"] = calls;
  const others = await Promise.all(Array.from({ length: 4 }, () => openDatabase(store.file)));
  const connections = [store.database, ...others];

  const results = await Promise.allSettled(
    Array.from({ length: RIVALS }, (_, i) => {
      const body = decide(i % 2 ? "approve" : "deny", { reason: `rival ${i}`, scope: "always" });
      return decideApproval(connections[i % connections.length] as Database, {
        sessionId,
        callId,
        body,
        key: newId("msg"),
      });
    }),
  );

  const taken = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  expect(taken).toHaveLength(1);
  for (const result of results) {
    if (result.status === "rejected") expect(result.reason.first).toMatchObject({ reason: taken[0]?.reason });
  }
  await expectWhole(store.database, sessionId, callId);
  expect(await store.database.read.selectFrom("grants").select("id").execute()).toEqual([{ id: taken[0]?.grantId }]);
  for (const other of others) await other.close();
});

test("a decision, a deadline and a stop at the same moment: one of them stands", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  for (let round = 0; round < 10; round++) {
    const { ids, sessionId, calls } = await aWaitingTurn(database, [approval()]);
    const [callId = "call_none"] = calls;
    const key = { sessionId, callId };

    await Promise.allSettled(
      [
        () => decideApproval(database, { ...key, body: decide("approve") }),
        () => expireWait(database, { ...key, kind: "approval" }),
        () => endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" }),
      ]
        .sort(() => Math.random() - 0.5)
        .map((end) => end()),
    );

    const said = (await factsOf(database, sessionId, callId)).filter(({ type }) => type === "approval.decided");
    expect(said).toHaveLength(1);
    expect((await callOf(database, sessionId, callId)).results).toHaveLength(1); // The turn has ended in any case.
  }
});

test("processes that contradict each other and are killed in between leave one whole decision for each call", {
  timeout: 60_000,
}, async () => {
  await using store = await temporaryStore();
  const { sessionId, calls } = await aWaitingTurn(
    store.database,
    Array.from({ length: 40 }, () => approval()),
  );
  const rivals = (): ChildProgram[] =>
    ["approve", "deny", "approve"].map((decision) => startProgram("decider.ts", store.file, sessionId, decision));

  for (let kill = 0; kill < 2; kill++) {
    await Promise.all(
      rivals().map(async (rival) => {
        await using ours = rival;
        await ours.line();
        await delay(Math.random() * 30); // The instant of the kill is what is random here; nothing waits for it.
        ours.kill();
      }),
    );
  }
  const last = startProgram("decider.ts", store.file, sessionId, "deny");
  expect(await last.ended).toBe(0);

  for (const callId of calls) await expectWhole(store.database, sessionId, callId);
});

/** One decision in the log, and a row and a result that say the same. */
async function expectWhole(database: Database, sessionId: SessionId, callId: CallId): Promise<void> {
  const facts = await factsOf(database, sessionId, callId);
  const [decided, ...more] = facts.filter((fact) => fact.type === "approval.decided");
  expect(more).toEqual([]);
  const { row, results } = await callOf(database, sessionId, callId);
  const isApproved = decided?.type === "approval.decided" && decided.decision === "approve";
  expect(row).toMatchObject(isApproved ? { state: "planned", outcome: null } : { state: "done", outcome: "denied" });
  expect(results).toHaveLength(isApproved ? 0 : 1);
  expect(facts.filter((fact) => fact.type === "tool.completed")).toHaveLength(isApproved ? 0 : 1);
}
