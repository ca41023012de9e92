/** What the rows say is going on in a session, for a workflow that is begun anew. */
import { expect, test } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import type { Database } from "../../store/database.ts";
import { append } from "../../store/event-log.ts";
import { markSubmitted } from "../../store/messages.ts";
import { recoverSession } from "../../store/recovery.ts";
import { closeSession, isWanted } from "../../store/session-closing.ts";
import { endStep } from "../../store/steps.ts";
import { askSessionEnd, askTurnStop } from "../../store/stops.ts";
import { endTurn } from "../../store/turns.ts";
import { aCall, aMessage, anEnding, aSession, aStep, logOf, temporaryStore } from "./store-builder.ts";

const USAGE = { inputTokens: 10, outputTokens: 5, cachedTokens: 1, reasoningTokens: 2 };
const SUM = { inputTokens: 20, outputTokens: 10, cachedTokens: 2, reasoningTokens: 4 };

async function recovered(database: Database, id: SessionId) {
  const found = await recoverSession(database, id);
  if (!found) throw new Error(`nothing is recovered of ${id}`);
  return found;
}

test("nothing is going on in a session that is new, closed or gone", async () => {
  await using store = await temporaryStore();
  const id = await aSession(store.database);

  expect(await recovered(store.database, id)).toMatchObject({ queue: [], closing: false, turns: 0, hasSandbox: false });
  await closeSession(store.database, id);
  expect(await recoverSession(store.database, id)).toBeUndefined();
  expect(await recoverSession(store.database, "ses_gone")).toBeUndefined();
});

test("messages wait in their order, those that interrupt first, whoever had heard of them", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const [a, b] = [await aMessage(database, id), await aMessage(database, id)];
  const urgent = await aMessage(database, id, { mode: "interrupt" });
  const urgent2 = await aMessage(database, id, { mode: "interrupt" });
  const steer = await aMessage(database, id, { mode: "steer" });
  await markSubmitted(database, id, b.messageId);

  const { queue, turn } = await recovered(database, id);

  expect(queue).toEqual([urgent2, urgent, a, b, steer].map(({ messageId, turnId }) => ({ messageId, turnId })));
  expect(turn).toBeUndefined();
});

test("a running turn is at its newest step, which says its usage again, with what is to join it and its stop", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const past = await aMessage(database, id);
  await endStep(database, await aStep(database, past), anEnding([], { usage: USAGE }));
  await endTurn(database, { ...past, outcome: "completed", step: 1 });
  const now = await aMessage(database, id);
  const [first, second] = [aCall(), aCall()];
  const done = { ...first, answer: { outcome: "ok" as const, text: "read" } };
  await endStep(database, await aStep(database, now), anEnding([done], { usage: USAGE }));
  await endStep(database, await aStep(database, now, 2), anEnding([second], { usage: USAGE }));
  const joins = await aMessage(database, id, { mode: "steer" });
  await askTurnStop(database, id);

  const { turn, queue, turns, usage } = await recovered(database, id);

  expect({ queue, turns, usage }).toEqual({ queue: [], turns: 1, usage: USAGE });
  expect(turn).toMatchObject({
    turnId: now.turnId,
    messageId: now.messageId,
    step: 2,
    usage: USAGE,
    hasRunTools: true,
    stop: "interrupted",
    steering: [{ messageId: joins.messageId, turnId: joins.turnId }],
  });
  expect(SUM).not.toEqual(usage);
});

test("its time is what it has worked, without overlapping waits for people and without the time in which all stood still", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const turn = await aMessage(database, id);
  await endStep(database, await aStep(database, turn), anEnding([aCall(), aCall()]));
  const calls = await database.read.selectFrom("tool_calls").select("id").execute();
  const began = Date.now() - 1_000_000;
  await database.write(async (tx) => {
    await tx.updateTable("turns").set({ started_at: began }).execute();
    await tx
      .updateTable("sessions")
      .set({ updated_at: began + 100_000 })
      .execute();
    for (const [index, call] of calls.entries())
      await tx
        .insertInto("waits")
        .values({
          call_id: call.id,
          kind: "approval",
          session_id: id,
          turn_id: turn.turnId,
          step: 1,
          name: "x",
          state: index === 0 ? "decided" : "pending",
          requested_at: began + 10_000 + index * 20_000,
          decided_at: index === 0 ? began + 50_000 : null,
          deadline: began + 10_000_000,
          arguments: "{}",
          arguments_hash: "",
          request: "{}",
          decision: null,
          decided_key: null,
          delivered: 0,
        })
        .execute();
  });

  expect((await recovered(database, id)).turn?.spentMs).toBe(10_000);
});

test("a session that is to be closed or deleted is closing", async () => {
  await using store = await temporaryStore();
  const id = await aSession(store.database);
  await askSessionEnd(store.database, { sessionId: id }, "close");

  expect((await recovered(store.database, id)).closing).toBe(true);
});

test("a call that no step will come back to has a result, once, so that no provider refuses the conversation", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const turn = await aMessage(database, id);
  const call = aCall();
  await endStep(database, await aStep(database, turn), anEnding([call]));
  // What a lost database leaves behind: the turn is over, and its call has no end.
  await database.write((tx) => tx.updateTable("turns").set({ state: "completed" }).execute());

  await recovered(database, id);
  await recovered(database, id);

  const ends = (await logOf(database, id)).filter(({ type }) => type === "tool.completed");
  expect(ends).toMatchObject([{ callId: call.block.callId, outcome: "unknown" }]);
  expect(JSON.stringify(await database.read.selectFrom("transcript").selectAll().execute())).toContain("was lost");
});

test("the newest step of the running turn keeps its open calls", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const turn = await aMessage(database, id);
  await endStep(database, await aStep(database, turn), anEnding([aCall()]));

  await recovered(database, id);

  expect((await logOf(database, id)).map(({ type }) => type)).not.toContain("tool.completed");
});

test("no turn begins beside another one that the rows still run: its workflow is older or newer than they are", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const [first, second] = [await aMessage(database, id), await aMessage(database, id)];
  await aStep(database, first);

  await expect(aStep(database, second)).rejects.toMatchObject({ name: "SupersededError" });
});

test("a session that is closed has no turn that still runs, whatever its workflow knew of it", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const turn = await aMessage(database, id);
  await endStep(database, await aStep(database, turn), anEnding([aCall()]));

  await closeSession(database, id);

  const said = (await logOf(database, id)).slice(-2);
  expect(said).toMatchObject([
    { type: "turn.interrupted", reason: "closed", turnId: turn.turnId },
    { type: "session.closed" },
  ]);
});

test("a close that the rows know nothing of ends neither the turn nor the session", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const turn = await aMessage(database, id);
  await aStep(database, turn);
  const closing = { ...turn, outcome: "interrupted", reason: "closed", onRequest: true } as const;

  expect(await endTurn(database, closing)).toMatchObject({ behind: true });
  expect(await isWanted(database, id)).toBe(true);
  await askSessionEnd(database, { sessionId: id }, "close");
  expect(await isWanted(database, id)).toBe(false);
  expect(await endTurn(database, closing)).not.toHaveProperty("behind");
});

test("nothing follows session.closed, whatever was still under way", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  await closeSession(database, id);
  const before = await logOf(database, id);

  await database.write((tx) => append(tx, id, [{ type: "file.changed", path: "late", change: "created", bytes: 1 }]));

  expect(await logOf(database, id)).toEqual(before);
});
