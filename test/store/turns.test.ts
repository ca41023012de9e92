/** A turn ends once, in words, whatever still ran of it. */
import { expect, test } from "vitest";
import { SupersededError } from "../../store/error.ts";
import { markRefused, removeMessage } from "../../store/messages.ts";
import { purgeSession } from "../../store/sessions.ts";
import { endStep, publishReply } from "../../store/steps.ts";
import { messagesAfter } from "../../store/transcript.ts";
import { endTurn } from "../../store/turns.ts";
import { aMessage, anEnding, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

test("the second end of a turn changes nothing, whatever it says", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const ids = await aMessage(database, sessionId);
  await endStep(database, await aStep(database, ids), anEnding());
  await endTurn(database, { ...ids, outcome: "completed" });
  const before = await logOf(database, sessionId);

  await endTurn(database, { ...ids, outcome: "interrupted", reason: "closed" });

  expect(await logOf(database, sessionId)).toEqual(before);
  expect((await database.read.selectFrom("turns").select("state").executeTakeFirstOrThrow()).state).toBe("completed");
});

test("a turn that is stopped before its first step began still begins and ends in the log", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const ids = await aMessage(database, sessionId);

  await endTurn(database, { ...ids, outcome: "interrupted", reason: "replaced" });

  expect(await typesOf(database, sessionId)).toEqual([
    "session.created",
    "message.received",
    "turn.started",
    "turn.interrupted",
  ]);
  expect((await logOf(database, sessionId)).at(-1)).toMatchObject({ reason: "replaced", steps: 0 });
  expect(await messagesAfter(database, sessionId, { after: 0 })).toHaveLength(1);
  const message = await database.read.selectFrom("messages").select("state").executeTakeFirstOrThrow();
  expect(message.state).toBe("ended");
});

test("a step that still streams when its turn ends is superseded", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const ids = await aMessage(database, await aSession(database));
  const begun = await aStep(database, ids);
  await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" });

  const late = publishReply(database, begun, [
    { type: "block.delta", turnId: ids.turnId, step: 1, index: 0, text: "late" },
  ]);

  await expect(late).rejects.toThrow(SupersededError);
  await expect(endStep(database, begun, anEnding())).rejects.toThrow(SupersededError);
  expect((await typesOf(database, ids.sessionId)).at(-1)).toBe("turn.interrupted");
});

test("the end of a turn whose session was purged is nobody's business and no error", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const ids = await aMessage(database, await aSession(database));
  await aStep(database, ids);
  await purgeSession(database, ids.sessionId);

  await endTurn(database, { ...ids, outcome: "completed" });

  expect(await database.read.selectFrom("events").selectAll().execute()).toEqual([]);
  expect(await database.read.selectFrom("turns").selectAll().execute()).toEqual([]);
});

test("a failure without a reason is still told in words and with a code", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const ids = await aMessage(database, await aSession(database));

  await endTurn(database, { ...ids, outcome: "failed" });

  expect((await logOf(database, ids.sessionId)).at(-1)).toMatchObject({
    type: "turn.failed",
    code: "PROVIDER_ERROR",
    message: expect.stringMatching(/\w/),
  });
});

test("the session is running from a message's acceptance to the end of its turn, and idle when nothing waits", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const status = async () =>
    (await database.read.selectFrom("sessions").select("status").executeTakeFirstOrThrow()).status;
  expect(await status()).toBe("idle");
  const ids = await aMessage(database, sessionId);
  expect(await status()).toBe("running");

  await aStep(database, ids);
  const next = await aMessage(database, sessionId);
  await endTurn(database, { ...ids, outcome: "completed" });
  expect(await status()).toBe("running");

  await removeMessage(database, sessionId, next.messageId);
  expect(await status()).toBe("idle");
  const refused = await aMessage(database, sessionId);
  await markRefused(database, refused, "for a test");
  expect(await status()).toBe("idle");
});
