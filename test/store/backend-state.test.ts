/** A backend's state grows by chunks with the steps that made it, begins anew, and is read back as it was committed. */
import { expect, test } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import { BackendStates, type StateWrite, writeState } from "../../store/backend-state.ts";
import type { Database } from "../../store/database.ts";
import { purgeSession } from "../../store/sessions.ts";
import { endStep } from "../../store/steps.ts";
import { endTurn } from "../../store/turns.ts";
import { aMessage, anEnding, aSession, aStep, temporaryStore } from "./store-builder.ts";

const append = (text: string, meta: unknown = null): StateWrite => ({ backend: "b", append: text, meta });
const replace = (text: string, meta: unknown = null): StateWrite => ({ backend: "b", replace: text, meta });

async function write(database: Database, sessionId: SessionId, ...writes: readonly StateWrite[]): Promise<void> {
  for (const each of writes) {
    await database.write((tx) => writeState(tx, { sessionId, turnId: "turn_a", step: 1 }, each));
  }
}
const chunksOf = async (database: Database): Promise<readonly string[]> =>
  (await database.read.selectFrom("backend_state_chunks").select("text").orderBy("number").execute()).map(
    ({ text }) => text,
  );

test("a session has none before its first step, and then all that was appended, with the newest meta", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const sessionId = await aSession(database);
  expect(await states.read(sessionId, "b")).toBeUndefined();

  await write(database, sessionId, append("one\n", { at: 1 }), append("two\n", { at: 2 }), append("", { at: 3 }));

  expect(await states.read(sessionId, "b")).toMatchObject({ text: "one\ntwo\n", meta: { at: 3 } });
  expect(await chunksOf(database)).toEqual(["one\n", "two\n", ""]);
});

test("a text that begins anew leaves nothing of the one before, and goes on from there", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const sessionId = await aSession(database);
  await write(database, sessionId, append("old"), append("er"));
  const before = await states.read(sessionId, "b");

  await write(database, sessionId, replace("new"), append("er"));

  expect(await chunksOf(database)).toEqual(["new", "er"]);
  const after = await states.read(sessionId, "b");
  expect(after?.text).toBe("newer");
  expect(after?.version).not.toBe(before?.version);
});

test("both at once are the text anew with what follows it", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  await write(store.database, sessionId, append("old"), { backend: "b", replace: "new", append: "er", meta: null });

  expect((await store.states.read(sessionId, "b"))?.text).toBe("newer");
});

test("the same version is the same text, and every other text has another version", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const sessionId = await aSession(database);
  const versions = new Map<string, string>();
  for (const each of [append("a"), append(""), replace("a"), replace(""), append("a"), append("b")]) {
    await write(database, sessionId, each);

    const { version = "", text = "" } = (await states.read(sessionId, "b")) ?? {};
    expect(await states.read(sessionId, "b")).toMatchObject({ version, text });
    expect(versions.has(version)).toBe(false);
    versions.set(version, text);
  }
});

test("a worker that has the beginning reads what another has added, and what has begun anew", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const [warm, cold] = [new BackendStates(database), () => new BackendStates(database)];

  for (const each of [append("a"), append("b"), replace("c"), append("d"), append("e"), replace("")]) {
    await write(database, sessionId, each);
    expect(await warm.read(sessionId, "b")).toEqual(await cold().read(sessionId, "b"));
  }
});

test("backends and sessions have states of their own", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const [one, two] = [await aSession(database), await aSession(database)];
  await write(database, one, append("mine"), { backend: "c", append: "other", meta: null });
  await write(database, two, append("yours"));

  await write(database, one, replace("anew"));

  expect((await states.read(one, "b"))?.text).toBe("anew");
  expect((await states.read(one, "c"))?.text).toBe("other");
  expect((await states.read(two, "b"))?.text).toBe("yours");
});

test("a state is committed with its step or not at all", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const ids = await aMessage(database, await aSession(database));
  const begun = await aStep(database, ids);
  const newer = await aStep(database, ids);

  const late = endStep(database, begun, anEnding([], { state: append("of a superseded attempt") }));
  await expect(late).rejects.toThrow("has taken over");
  expect(await states.read(ids.sessionId, "b")).toBeUndefined();
  await endStep(database, newer, anEnding([], { state: append("kept") }));
  await expect(endStep(database, newer, anEnding([], { state: append("again") }))).rejects.toThrow("has taken over");

  expect((await states.read(ids.sessionId, "b"))?.text).toBe("kept");
  const head = await database.read.selectFrom("backend_states").selectAll().executeTakeFirst();
  expect(head).toMatchObject({ turn_id: ids.turnId, step: 1 });
});

test("the state of a turn that was stopped is that of its last whole step", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const ids = await aMessage(database, await aSession(database));
  await endStep(database, await aStep(database, ids), anEnding([], { state: append("first") }));
  const cut = await aStep(database, ids, 2);
  await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" });

  await expect(endStep(database, cut, anEnding([], { state: append("second") }))).rejects.toThrow("has taken over");

  expect((await states.read(ids.sessionId, "b"))?.text).toBe("first");
});

test("a purge takes the state along, and a session under the same id has none of it, also in a worker that knew it", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const sessionId = await aSession(database, { id: "ses_again" });
  await write(database, sessionId, append("old"));
  await states.read(sessionId, "b");

  await purgeSession(database, sessionId);
  expect(await chunksOf(database)).toEqual([]);
  expect(await states.read(sessionId, "b")).toBeUndefined();
  await aSession(database, { id: "ses_again" });
  expect(await states.read(sessionId, "b")).toBeUndefined();
  await write(database, sessionId, append("new"));

  expect((await states.read(sessionId, "b"))?.text).toBe("new");
});

test("what is kept of many sessions is bounded, and what was dropped is read again", async () => {
  await using store = await temporaryStore();
  const { database, states } = store;
  const sessions: SessionId[] = [];
  for (let i = 0; i < 205; i++) {
    const sessionId = await aSession(database);
    await write(database, sessionId, append(`text ${i}`));
    sessions.push(sessionId);
  }

  for (const sessionId of sessions) await states.read(sessionId, "b");
  // A chunk never changes: one that does all the same shows what is read again.
  await database.write((tx) => tx.updateTable("backend_state_chunks").set({ text: "read again" }).execute());

  const textOf = async (index: number) => (await states.read(sessions[index] ?? "", "b"))?.text;
  expect(await textOf(204)).toBe("text 204");
  expect(await textOf(5)).toBe("text 5");
  expect(await textOf(4)).toBe("read again");
  expect(await textOf(0)).toBe("read again");
});
