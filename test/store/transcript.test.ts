/** The transcript and its cache: nothing is skipped, nothing is doubled, and a message is the same object while it is kept. */
import { expect, test } from "vitest";
import type { TranscriptMessage } from "../../contract/blocks.ts";
import type { Database } from "../../store/database.ts";
import { purgeSession } from "../../store/sessions.ts";
import { appendMessages, messagesPage, placeMessage, TranscriptCache } from "../../store/transcript.ts";
import { aSession, temporaryStore } from "./store-builder.ts";

const said = (text: string): TranscriptMessage => ({ role: "user", blocks: [{ type: "text", text }] });
const say = (database: Database, sessionId: string, ...texts: readonly string[]) =>
  database.write((tx) => appendMessages(tx, sessionId, texts.map(said)));
const textsOf = (messages: readonly TranscriptMessage[]): readonly string[] =>
  messages.flatMap((message) => message.blocks.map((block) => ("text" in block ? block.text : block.type)));

test("the same message is the same object in every answer, and new ones are added behind", async () => {
  await using store = await temporaryStore();
  const { database, transcripts } = store;
  const sessionId = await aSession(database);
  await say(database, sessionId, "a", "b");

  const first = await transcripts.read(sessionId);
  await say(database, sessionId, "c");
  const second = await transcripts.read(sessionId);

  expect(textsOf(second)).toEqual(["a", "b", "c"]);
  expect(second[0]).toBe(first[0]);
  expect(second[1]).toBe(first[1]);
  expect(first).toHaveLength(2); // An answer does not grow under its reader.
});

test("a result that comes into a place kept for it, behind ones that were read, is not missed", async () => {
  await using store = await temporaryStore();
  const { database, transcripts } = store;
  const sessionId = await aSession(database);
  await database.write((tx) => appendMessages(tx, sessionId, [said("calls")], 2));
  await database.write((tx) => placeMessage(tx, sessionId, { position: 3, message: said("second result") }));
  expect(textsOf(await transcripts.read(sessionId))).toEqual(["calls", "second result"]);

  await database.write((tx) => placeMessage(tx, sessionId, { position: 2, message: said("first result") }));

  expect(textsOf(await transcripts.read(sessionId))).toEqual(["calls", "first result", "second result"]);
  await say(database, sessionId, "more");
  expect(textsOf(await transcripts.read(sessionId))).toEqual(["calls", "first result", "second result", "more"]);
});

test("readers at once are all answered whole, and nothing is doubled", async () => {
  await using store = await temporaryStore();
  const { database, transcripts } = store;
  const sessionId = await aSession(database);
  await say(database, sessionId, "a", "b");
  await transcripts.read(sessionId);
  await say(database, sessionId, "c", "d");

  const answers = await Promise.all([1, 2, 3, 4].map(() => transcripts.read(sessionId)));

  for (const answer of [...answers, await transcripts.read(sessionId)]) {
    expect(textsOf(answer)).toEqual(["a", "b", "c", "d"]);
  }
});

test("a session that is forgotten while it is read is answered whole, now and later", async () => {
  await using store = await temporaryStore();
  const { database, transcripts } = store;
  const sessionId = await aSession(database);
  await say(database, sessionId, "a");
  await transcripts.read(sessionId);
  await say(database, sessionId, "b");

  const reading = transcripts.read(sessionId);
  transcripts.forget(sessionId);

  expect(textsOf(await reading)).toEqual(["a", "b"]);
  expect(textsOf(await transcripts.read(sessionId))).toEqual(["a", "b"]);
});

test("what is forgotten is read again from the database", async () => {
  await using store = await temporaryStore();
  const { database, transcripts } = store;
  const sessionId = await aSession(database);
  await say(database, sessionId, "a");
  const [before] = await transcripts.read(sessionId);

  transcripts.forget(sessionId);
  transcripts.forget("nobody");
  const [after] = await transcripts.read(sessionId);

  expect(after).toEqual(before);
  expect(after).not.toBe(before);
});

test("a session that was purged and made anew shows nothing of the old one, also where nobody said to forget it", async () => {
  await using store = await temporaryStore();
  const { database, transcripts } = store;
  await aSession(database, { id: "s1" });
  await say(database, "s1", "old", "secret");
  await transcripts.read("s1");

  await purgeSession(database, "s1"); // As another worker does it.
  await database.write((tx) => tx.deleteFrom("sessions").execute());
  await aSession(database, { id: "s1", title: "anew" });
  await database.write((tx) => tx.updateTable("sessions").set({ created_at: 1 }).execute());
  await say(database, "s1", "new");

  expect(textsOf(await transcripts.read("s1"))).toEqual(["new"]);
});

test("the sessions used longest ago are dropped first when there are too many", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionIds = Array.from({ length: 201 }, (_, i) => `s${i}`);
  for (const id of sessionIds) await aSession(database, { id });
  for (const id of sessionIds) await say(database, id, id);
  const cache = new TranscriptCache(database);
  const firsts = new Map<string, TranscriptMessage | undefined>();
  for (const id of sessionIds.slice(0, 200)) firsts.set(id, (await cache.read(id))[0]);

  await cache.read("s0"); // Used again, so that s1 is now the oldest.
  await cache.read("s200");

  expect((await cache.read("s0"))[0]).toBe(firsts.get("s0"));
  expect((await cache.read("s2"))[0]).toBe(firsts.get("s2"));
  expect((await cache.read("s1"))[0]).not.toBe(firsts.get("s1"));
});

test("large transcripts push others out long before memory is full, and a single one is kept however large", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const data = Buffer.alloc(3 * 1024 * 1024, 65).toString();
  const [small, large] = [await aSession(database), await aSession(database)];
  await say(database, small, "small");
  for (let i = 0; i < 3; i++) await database.write((tx) => appendMessages(tx, large, [said(data)]));
  const cache = new TranscriptCache(database, 8 * 1024 * 1024);
  const [before] = await cache.read(small);

  const first = await cache.read(large);

  expect((await cache.read(large))[0]).toBe(first[0]);
  expect((await cache.read(small))[0]).not.toBe(before);
});

test("pages of the transcript follow each other", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  await say(database, sessionId, "a", "b", "c");

  const page = await messagesPage(database, sessionId, { after: 1, limit: 1 });

  expect(page).toEqual({ rows: [{ position: 2, message: said("b") }], hasMore: true });
});
