/** The event log is 1, 2, 3 … whoever writes, however many at once, and whenever one of them is killed. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import type { Fact } from "../../contract/events.ts";
import { append, eventJson, eventsAfter } from "../../store/event-log.ts";
import { closeSession } from "../../store/session-closing.ts";
import { endStep, publishReply } from "../../store/steps.ts";
import { endTurn } from "../../store/turns.ts";
import { startProgram } from "./fixtures/child-program.ts";
import { aMessage, anEnding, aSession, aStep, logOf, temporaryStore } from "./store-builder.ts";

const refused = (message: string): Fact => ({ type: "message.refused", messageId: "m1", message });

test("many writers at once in one process leave no gap and no duplicate", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);

  const lasts = await Promise.all(
    Array.from({ length: 300 }, (_, i) =>
      store.database.write((tx) => append(tx, sessionId, [refused(`${i}a`), refused(`${i}b`)])),
    ),
  );

  expect(new Set(lasts).size).toBe(300);
  expect(await logOf(store.database, sessionId)).toHaveLength(601);
});

test("several processes at once leave no gap, and each one's events stay together and in order", {
  timeout: 20_000,
}, async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  await using a = startProgram("appender.ts", store.file, sessionId, "150", "3");
  await using b = startProgram("appender.ts", store.file, sessionId, "150", "3");
  await using c = startProgram("appender.ts", store.file, sessionId, "150", "3");

  expect(await Promise.all([a.ended, b.ended, c.ended])).toEqual([0, 0, 0]);

  const log = await logOf(store.database, sessionId);
  const said = log.flatMap((event) => (event.type === "message.refused" ? [event.message] : []));
  expect(said).toHaveLength(3 * 150 * 3);
  for (const { pid } of [a, b, c]) {
    const mine = said.filter((message) => message.startsWith(`${pid}:`));
    expect(mine).toEqual(Array.from({ length: 450 }, (_, i) => `${pid}:${Math.floor(i / 3)}:${i % 3}`));
  }
  for (const [index, message] of said.entries())
    if (message.endsWith(":0")) expect(said[index + 2]).toBe(`${message.slice(0, -1)}2`);
});

test("more facts than one insert takes are one append", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);

  const last = await store.database.write((tx) =>
    append(
      tx,
      sessionId,
      Array.from({ length: 1_234 }, (_, i) => refused(String(i))),
    ),
  );

  expect(last).toBe(1_235);
  expect((await logOf(store.database, sessionId)).at(-1)).toMatchObject({ seq: 1_235, message: "1233" });
});

test("a transaction that fails after an append leaves nothing of it, and its numbers are used by the next", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);

  const failed = store.database.write(async (tx) => {
    await append(tx, sessionId, [refused("never seen")]);
    throw new Error("changed my mind");
  });

  await expect(failed).rejects.toThrow("changed my mind");
  await store.database.write((tx) => append(tx, sessionId, [refused("seen")]));
  expect((await logOf(store.database, sessionId)).map((event) => event.seq)).toEqual([1, 2]);
});

test("nothing is appended to a session that does not exist", async () => {
  await using store = await temporaryStore();

  const appended = store.database.write((tx) => append(tx, "nobody", [refused("x")]));

  await expect(appended).rejects.toMatchObject({ name: "StoreError", kind: "failed" });
  expect(await eventsAfter(store.database, "nobody", { after: 0, limit: 10 })).toEqual([]);
});

test("the numbers of one session do not depend on another's", async () => {
  await using store = await temporaryStore();
  const [first, second] = [await aSession(store.database), await aSession(store.database)];

  await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      store.database.write((tx) => append(tx, i % 2 === 0 ? first : second, [refused(String(i))])),
    ),
  );

  expect(await logOf(store.database, first)).toHaveLength(21);
  expect(await logOf(store.database, second)).toHaveLength(21);
});

test("whatever happens later, the log so far stays as it was, byte for byte", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const soFar: string[] = [];
  const look = async (): Promise<void> => {
    const now = (await eventsAfter(database, sessionId, { after: 0, limit: 1_000 })).map(eventJson);
    expect(now.slice(0, soFar.length)).toEqual(soFar);
    expect(now.length).toBeGreaterThan(soFar.length);
    soFar.splice(0, soFar.length, ...now);
  };

  const ids = await aMessage(database, sessionId);
  await look();
  await aStep(database, ids);
  await look();
  const begun = await aStep(database, ids);
  await look();
  await publishReply(database, begun, [{ type: "block.delta", turnId: ids.turnId, step: 1, index: 0, text: "x" }]);
  await look();
  await endStep(database, begun, anEnding());
  await look();
  await endTurn(database, { ...ids, outcome: "completed" });
  await look();
  await closeSession(database, sessionId);
  await look();
});

test("no code of the store changes an event or writes one beside append", () => {
  const folder = path.join(import.meta.dirname, "../../store");
  const sources = readdirSync(folder).map((name) => ({ name, text: readFileSync(path.join(folder, name), "utf8") }));

  const updates = sources.filter(({ text }) => text.includes('updateTable("events")'));
  const inserts = sources.filter(({ text }) => text.includes('insertInto("events")'));

  expect(updates.map(({ name }) => name)).toEqual([]);
  expect(inserts.map(({ name }) => name)).toEqual(["event-log.ts"]);
});
