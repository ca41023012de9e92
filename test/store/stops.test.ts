/** Stops as rows: asked once, told once, of what runs and of nothing else. */
import { expect, test } from "vitest";
import { Agent } from "../../contract/agents.ts";
import { createSession, purgeSession } from "../../store/sessions.ts";
import { askSessionEnd, askTurnStop, markSessionEndTold, markTurnStopTold } from "../../store/stops.ts";
import { endTurn } from "../../store/turns.ts";
import { aMessage, aSession, aStep, temporaryStore } from "./store-builder.ts";

test("a turn is asked to stop until it was told, and then nobody need tell it again", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const turn = await aMessage(database, await aSession(database));
  expect(await askTurnStop(database, turn.sessionId)).toEqual({ asked: "nothing" });
  await aStep(database, turn);

  expect(await askTurnStop(database, turn.sessionId)).toEqual({ asked: "asked", turnId: turn.turnId });
  expect(await askTurnStop(database, turn.sessionId)).toEqual({ asked: "asked", turnId: turn.turnId });
  await markTurnStopTold(database, turn.turnId);
  expect(await askTurnStop(database, turn.sessionId)).toEqual({ asked: "told", turnId: turn.turnId });
});

test("the next turn is not stopped, nor is one that is named and does not run", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const [first, second] = [await aMessage(database, sessionId), await aMessage(database, sessionId)];
  await aStep(database, first);
  await askTurnStop(database, sessionId);
  await endTurn(database, { ...first, outcome: "interrupted", reason: "interrupted" });
  await aStep(database, second);

  expect(await askTurnStop(database, sessionId, first.turnId)).toEqual({ asked: "nothing" });
  const stops = await database.read.selectFrom("turns").select(["id", "stop"]).orderBy("started_at").execute();
  expect(stops.find(({ id }) => id === second.turnId)?.stop).toBeNull();
});

test("what is to be deleted stays so, and only that incarnation", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database, { id: "again" });
  const first = await database.read.selectFrom("sessions").select("incarnation").executeTakeFirstOrThrow();
  expect(await askSessionEnd(database, { sessionId, ...first }, "delete")).toBe("asked");
  expect(await askSessionEnd(database, { sessionId }, "close")).toBe("asked");
  await markSessionEndTold(database, { sessionId, ...first });
  expect(await askSessionEnd(database, { sessionId }, "close")).toBe("told");
  expect((await database.read.selectFrom("sessions").select("ending").executeTakeFirstOrThrow()).ending).toBe("delete");

  await purgeSession(database, sessionId);
  await aSession(database, { id: "again" });

  expect(await askSessionEnd(database, { sessionId, ...first }, "delete")).toBe("nothing");
  expect((await database.read.selectFrom("sessions").select("ending").executeTakeFirstOrThrow()).ending).toBeNull();
});

test("an id whose session is being deleted is not taken for it", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database, { id: "going" });
  await askSessionEnd(store.database, { sessionId }, "delete");

  const again = createSession(store.database, {
    id: sessionId,
    agent: Agent.parse({}),
    title: undefined,
    metadata: {},
  });

  await expect(again).rejects.toThrow(/is being deleted/);
});
