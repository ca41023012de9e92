/** A message is a row before anybody hears of it: the same one once, another one never under its id, and none too many. */
import { expect, test } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import { newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Database } from "../../store/database.ts";
import {
  markRefused,
  markSubmitted,
  type NewMessage,
  receiveMessage,
  undeliveredSessions,
} from "../../store/messages.ts";
import { closeSession } from "../../store/session-closing.ts";
import { askSessionEnd } from "../../store/stops.ts";
import { endTurn } from "../../store/turns.ts";
import { aMessage, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

const wanted = (sessionId: string, rest: Partial<NewMessage> = {}): NewMessage => ({
  sessionId,
  id: "m1",
  turnId: newId("turn"),
  mode: "queue",
  content: "hello",
  ...rest,
});

async function fill(database: Database, sessionId: string, number: number): Promise<void> {
  for (let i = 0; i < number; i++) await aMessage(database, sessionId);
}

test("the same id with the same content is the same message and the same turn", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const first = await receiveMessage(store.database, wanted(sessionId));

  const again = await Promise.all(
    Array.from({ length: 5 }, () => receiveMessage(store.database, wanted(sessionId, { turnId: newId("turn") }))),
  );

  for (const each of again) expect(each).toEqual(first);
  expect(await typesOf(store.database, sessionId)).toEqual(["session.created", "message.received"]);
});

test("content that is spelled in another order of keys is the same content", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const [a, b] = [
    { type: "image" as const, url: "https://a.example/x.png", detail: "low" as const },
    { detail: "low" as const, url: "https://a.example/x.png", type: "image" as const },
  ];

  await receiveMessage(store.database, wanted(sessionId, { content: [a] }));
  await receiveMessage(store.database, wanted(sessionId, { content: [b] }));

  expect(await typesOf(store.database, sessionId)).toHaveLength(2);
});

test.for([
  ["other text", { content: "hello!" }],
  ["the same text as a block", { content: [{ type: "text", text: "hello" }] }],
  ["another mode", { mode: "interrupt" }],
] as const)("the same id with %s is a conflict and changes nothing", async ([, other]) => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  await receiveMessage(store.database, wanted(sessionId));

  const conflict = receiveMessage(store.database, wanted(sessionId, other as Partial<NewMessage>));

  await expect(conflict).rejects.toMatchObject({ name: "ProblemError", code: "CONFLICT" });
  expect(await typesOf(store.database, sessionId)).toHaveLength(2);
});

test("the same id in another session is another message", async () => {
  await using store = await temporaryStore();
  const [a, b] = [await aSession(store.database), await aSession(store.database)];

  await receiveMessage(store.database, wanted(a, { content: "one" }));
  await receiveMessage(store.database, wanted(b, { content: "two" }));

  expect(await typesOf(store.database, b)).toHaveLength(2);
});

test("a message to no session is SESSION_NOT_FOUND", async () => {
  await using store = await temporaryStore();

  await expect(receiveMessage(store.database, wanted("nobody"))).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
});

test("a session that is being closed takes no message, but still knows one that it took", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const taken = await receiveMessage(store.database, wanted(sessionId));
  await askSessionEnd(store.database, { sessionId }, "close");

  const late = receiveMessage(store.database, wanted(sessionId, { id: "m2" }));

  await expect(late).rejects.toMatchObject({
    code: "SESSION_CLOSED",
    message: expect.stringContaining("being closed"),
  });
  expect(await receiveMessage(store.database, wanted(sessionId))).toMatchObject({ turnId: taken.turnId });
});

test("a closed session takes no message, but still knows one that it took", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const taken = await receiveMessage(store.database, wanted(sessionId));
  await closeSession(store.database, sessionId);

  const late = receiveMessage(store.database, wanted(sessionId, { id: "m2" }));

  await expect(late).rejects.toMatchObject({ code: "SESSION_CLOSED" });
  const again = await receiveMessage(store.database, wanted(sessionId));
  expect(again).toMatchObject({ turnId: taken.turnId, state: "refused", position: 0 });
});

test("close refuses every message that waits, in words, before it says that the session is closed", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const ids = [await aMessage(database, sessionId), await aMessage(database, sessionId)];
  await markSubmitted(database, sessionId, ids[0]?.messageId ?? "");

  await closeSession(database, sessionId);
  await closeSession(database, sessionId);

  const end = (await logOf(database, sessionId)).slice(-3);
  expect(end.map((event) => event.type)).toEqual(["message.refused", "message.refused", "session.closed"]);
  expect(end.flatMap((event) => (event.type === "message.refused" ? [event.messageId] : []))).toEqual(
    ids.map((each) => each.messageId),
  );
});

test("one message more than may wait is QUEUE_FULL, while a turn runs beside them", { timeout: 20_000 }, async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const running = await aMessage(database, sessionId);
  await aStep(database, running);
  await fill(database, sessionId, LIMITS.messagesWaiting);

  const tooMany = receiveMessage(database, wanted(sessionId));

  await expect(tooMany).rejects.toMatchObject({ code: "QUEUE_FULL" });
  await endTurn(database, { ...running, outcome: "completed" });
  await expect(receiveMessage(database, wanted(sessionId))).rejects.toMatchObject({ code: "QUEUE_FULL" });
  const [next] = await database.read.selectFrom("messages").selectAll().where("position", "=", 2).execute();
  await aStep(database, { sessionId, messageId: next?.id ?? "", turnId: (next?.turn_id ?? "") as `turn_${string}` });
  expect(await receiveMessage(database, wanted(sessionId))).toMatchObject({ position: LIMITS.messagesWaiting });
});

test("a repeat of a message is answered also when the queue is full", { timeout: 20_000 }, async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const first = await receiveMessage(store.database, wanted(sessionId));
  await fill(store.database, sessionId, LIMITS.messagesWaiting - 1);

  expect(await receiveMessage(store.database, wanted(sessionId))).toEqual(first);
});

test("20 messages at once have 20 positions, and a repeat of each has the position it has then", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const messages = Array.from({ length: 20 }, (_, i) => wanted(sessionId, { id: `m${i}` }));

  const received = await Promise.all(messages.map((message) => receiveMessage(store.database, message)));

  expect(received.map((each) => each.position).sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  const again = await Promise.all(messages.map((message) => receiveMessage(store.database, message)));
  expect(again).toEqual(received);
  const queued = (await logOf(store.database, sessionId)).filter((event) => event.type === "message.queued");
  expect(queued).toHaveLength(19);
});

test("a message that interrupts goes now, and its repeat is answered the same", async () => {
  await using store = await temporaryStore();
  const sessionId = await aSession(store.database);
  await fill(store.database, sessionId, 3);
  const message = wanted(sessionId, { mode: "interrupt" });

  const first = await receiveMessage(store.database, message);

  expect(first.position).toBe(0);
  expect(await receiveMessage(store.database, message)).toEqual(first);
  expect((await typesOf(store.database, sessionId)).at(-1)).toBe("message.received");
});

test("sessions with what no workflow is known to have are found by their ids, until it is submitted or refused", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const [first, second] = [
    await aSession(database, { id: "a" as SessionId }),
    await aSession(database, { id: "b" as SessionId }),
  ];
  const [one, two] = [await aMessage(database, first), await aMessage(database, second)];
  await aMessage(database, second);
  const before = Date.now() + 1;
  const left = (after = "", limit = 9) => undeliveredSessions(database, { before, after, limit });

  expect(await undeliveredSessions(database, { before: before - 60_000, after: "", limit: 9 })).toEqual([]);
  expect(await left()).toEqual([first, second]);
  expect(await left("", 1)).toEqual([first]);
  expect(await left(first)).toEqual([second]);
  await markSubmitted(database, first, one.messageId);
  await markRefused(database, { sessionId: second, messageId: two.messageId }, "no");
  expect(await left()).toEqual([second]);
});

test("a refusal is said once, and never of a message whose turn has begun", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const [refused, begun] = [await aMessage(database, sessionId), await aMessage(database, sessionId)];
  await aStep(database, begun);

  await markRefused(database, refused, "no");
  await markRefused(database, refused, "no, again");
  await markRefused(database, begun, "too late");
  await markSubmitted(database, sessionId, refused.messageId);

  const said = (await logOf(database, sessionId)).flatMap((event) =>
    event.type === "message.refused" ? [[event.messageId, event.message]] : [],
  );
  expect(said).toEqual([[refused.messageId, "no"]]);
  const row = await database.read
    .selectFrom("messages")
    .select("state")
    .where("id", "=", refused.messageId)
    .executeTakeFirst();
  expect(row?.state).toBe("refused");
});
