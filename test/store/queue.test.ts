/** The queue of a session: a message joins the turn that runs, is taken back, or waits, and each only once. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import type { TurnEnding } from "../../contract/steps.ts";
import type { Database } from "../../store/database.ts";
import { listMessages, markRefused, markSubmitted, receiveMessage, removeMessage } from "../../store/messages.ts";
import { beginStep, endStep } from "../../store/steps.ts";
import { messagesAfter } from "../../store/transcript.ts";
import { endTurn, type TurnIds } from "../../store/turns.ts";
import { aMessage, anEnding, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

const rowOf = async (database: Database, messageId: string) =>
  await database.read.selectFrom("messages").selectAll().where("id", "=", messageId).executeTakeFirst();
const remove = (database: Database, { sessionId, messageId }: TurnIds) => removeMessage(database, sessionId, messageId);
const completed = (ids: TurnIds, requeued: readonly string[] = []): TurnEnding => ({
  ...ids,
  outcome: "completed",
  requeued,
});

/** A session whose turn runs, with a message behind it that is to join it. */
async function aSteeredTurn() {
  const store = await temporaryStore();
  const { database } = store;
  const running = await aMessage(database, await aSession(database));
  await endStep(database, await aStep(database, running), anEnding([]));
  const steering = await aMessage(database, running.sessionId, { mode: "steer", content: "be brief" });
  const join = (step: number) => beginStep(database, { ...running, step, steer: [steering.messageId] }, undefined);
  return { database, running, steering, join, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

describe("a message that steers", () => {
  test("goes now while a turn runs, is not said to be queued, and its repeat is answered the same", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const running = await aMessage(database, await aSession(database));
    await aStep(database, running);
    const { sessionId } = running;
    const message = { sessionId, id: "s1", turnId: "turn_s", mode: "steer", content: "be brief" } as const;

    const first = await receiveMessage(database, message);

    expect(first).toMatchObject({ position: 0, state: "received" });
    expect(await receiveMessage(database, message)).toEqual(first);
    expect((await typesOf(database, sessionId)).at(-1)).toBe("message.received");
  });

  test("waits like any other while none runs", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const { sessionId } = await aMessage(database, await aSession(database));

    await aMessage(database, sessionId, { mode: "steer" });

    expect((await logOf(database, sessionId)).at(-1)).toMatchObject({ type: "message.queued", position: 1 });
  });

  test("joins once, in the transcript and in the log, and is over with the turn that it has joined", async () => {
    await using turn = await aSteeredTurn();
    const { database, running, steering, join } = turn;

    await join(2);
    const second = await join(2);
    if (second.state !== "begun") throw new Error("it is done");
    await endStep(database, second, anEnding([]));
    const begun = await join(3);

    expect(begun.state).toBe("begun");
    const steered = (await logOf(database, running.sessionId)).filter(({ type }) => type === "message.steered");
    expect(steered).toMatchObject([{ messageId: steering.messageId, turnId: running.turnId, step: 2 }]);
    const shown = await messagesAfter(database, running.sessionId, { after: 0 });
    expect(shown.filter(({ message }) => JSON.stringify(message).includes("be brief"))).toHaveLength(1);
    expect(await rowOf(database, steering.messageId)).toMatchObject({ state: "taken", turn_id: running.turnId });
    await endTurn(database, completed(running));
    expect(await rowOf(database, steering.messageId)).toMatchObject({ state: "ended" });
  });

  test("does not join when it was taken back", async () => {
    await using turn = await aSteeredTurn();
    await remove(turn.database, turn.steering);

    await turn.join(2);

    expect(await typesOf(turn.database, turn.running.sessionId)).not.toContain("message.steered");
    expect(await rowOf(turn.database, turn.steering.messageId)).toMatchObject({ state: "removed" });
  });

  test("that comes too late gets a turn of its own, and the log says so behind the end of that turn", async () => {
    await using turn = await aSteeredTurn();
    const { database, running, steering } = turn;
    const ending = completed(running, [steering.messageId]);

    expect(await endTurn(database, ending)).toEqual({ requeued: [steering.messageId] });
    expect(await endTurn(database, ending)).toEqual({ requeued: [steering.messageId] });

    const log = await logOf(database, running.sessionId);
    expect(log.slice(-2)).toMatchObject([
      { type: "turn.completed" },
      { type: "message.queued", messageId: steering.messageId, turnId: steering.turnId, position: 1 },
    ]);
    expect((await beginStep(database, { ...steering, step: 1 }, undefined)).state).toBe("begun");
  });

  test("is not put back when it has joined, or was taken back or refused", async () => {
    await using turn = await aSteeredTurn();
    const { database, running, steering, join } = turn;
    const [gone, refused, late] = [
      await aMessage(database, running.sessionId, { mode: "steer" }),
      await aMessage(database, running.sessionId, { mode: "steer" }),
      await aMessage(database, running.sessionId, { mode: "steer" }),
    ];
    await join(2);
    await remove(database, gone);
    await markRefused(database, refused, "no");

    const ids = [late, refused, gone, steering].map(({ messageId }) => messageId);
    const { requeued } = await endTurn(database, completed(running, ids));

    expect(requeued).toEqual([late.messageId]);
  });
});

describe("a message that is taken back", () => {
  test("is so once, whoever asks and however often, and never gets a turn", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const ids = await aMessage(database, await aSession(database));
    await markSubmitted(database, ids.sessionId, ids.messageId);

    await Promise.all(Array.from({ length: 5 }, () => remove(database, ids)));
    const begun = await beginStep(database, { ...ids, step: 1 }, undefined);
    await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" });

    expect(begun).toMatchObject({ state: "done", result: { next: "skipped" } });
    expect(await typesOf(database, ids.sessionId)).toEqual(["session.created", "message.received", "message.removed"]);
    expect(await messagesAfter(database, ids.sessionId, { after: 0 })).toEqual([]);
    expect(await database.read.selectFrom("turns").selectAll().execute()).toEqual([]);
  });

  test("frees its place in the queue, and is the same message still", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const sessionId = await aSession(database);
    const [, second] = [await aMessage(database, sessionId), await aMessage(database, sessionId)];

    await remove(database, second);

    const next = { sessionId, id: "m3", turnId: "turn_3", mode: "queue", content: "next" } as const;
    expect(await receiveMessage(database, next)).toMatchObject({ position: 1 });
    const again = { sessionId, id: second.messageId, turnId: "turn_4", mode: "queue", content: "hello" } as const;
    expect(await receiveMessage(database, again)).toMatchObject({
      state: "removed",
      turnId: second.turnId,
      position: 0,
    });
  });

  test("must not have begun, must be there, and must be of this session", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const [sessionId, other] = [await aSession(database), await aSession(database)];
    const ids = await aMessage(database, sessionId);

    const elsewhere = remove(database, { ...ids, sessionId: other });
    await expect(elsewhere).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(remove(database, { ...ids, messageId: "m_none" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await aStep(database, ids);
    await expect(remove(database, ids)).rejects.toMatchObject({
      code: "CONFLICT",
      message: expect.stringContaining("interrupt it instead"),
    });
    await endTurn(database, completed(ids));
    await expect(remove(database, ids)).rejects.toMatchObject({ code: "CONFLICT" });

    expect(await typesOf(database, sessionId)).not.toContain("message.removed");
  });

  test("after it was refused stays refused, and nothing more is said", async () => {
    await using store = await temporaryStore();
    const ids = await aMessage(store.database, await aSession(store.database));
    await markRefused(store.database, ids, "no");

    await remove(store.database, ids);

    expect(await rowOf(store.database, ids.messageId)).toMatchObject({ state: "refused" });
    expect((await typesOf(store.database, ids.sessionId)).at(-1)).toBe("message.refused");
  });

  test.for([true, false])("and begins at the same moment does one of the two (asked first: %s)", async (isFirst) => {
    await using store = await temporaryStore();
    const { database } = store;
    const ids = await aMessage(database, await aSession(database));

    const early = isFirst ? remove(database, ids) : undefined;
    const beginning = beginStep(database, { ...ids, step: 1 }, undefined);
    const [removed, begun] = await Promise.allSettled([early ?? remove(database, ids), beginning]);

    const types = await typesOf(database, ids.sessionId);
    expect(removed.status).toBe(isFirst ? "fulfilled" : "rejected");
    expect(begun).toMatchObject({ value: { state: isFirst ? "done" : "begun" } });
    expect([types.includes("message.removed"), types.includes("turn.started")]).toEqual([isFirst, !isFirst]);
  });
});

test("a session's messages are listed in their order, by state, page by page, and of no other session", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  await aMessage(database, await aSession(database));
  const ids: TurnIds[] = [];
  for (let i = 0; i < 6; i++) ids.push(await aMessage(database, sessionId, { content: `m${i}` }));
  const [ended, running, submitted, , refused, removed] = ids as [TurnIds, TurnIds, TurnIds, TurnIds, TurnIds, TurnIds];
  await aStep(database, ended);
  await endTurn(database, completed(ended));
  await aStep(database, running);
  await markSubmitted(database, sessionId, submitted.messageId);
  await markRefused(database, refused, "no");
  await remove(database, removed);
  const list = async (range: Partial<Parameters<typeof listMessages>[2]>) =>
    (await listMessages(database, sessionId, { after: 0, limit: 100, ...range })).rows.map(
      ({ position, message }) => [position, message.content, message.state] as const,
    );

  const all = await list({});

  const states = ["ended", "running", "waiting", "waiting", "refused", "removed"] as const;
  expect(all).toEqual(states.map((state, index) => [index + 1, `m${index}`, state]));
  expect([...(await list({ limit: 4 })), ...(await list({ after: 4, limit: 4 }))]).toEqual(all);
  for (const state of new Set(states)) expect(await list({ state })).toEqual(all.filter((each) => each[2] === state));
  expect(await list({ state: "waiting", limit: 1, after: 3 })).toEqual([[4, "m3", "waiting"]]);
});

test("a page of large messages ends before it is too large, and goes on behind its last one", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const content = "x".repeat(LIMITS.pageBytesMax / 2 - 100);
  for (const id of ["a", "b", "c"]) await aMessage(database, sessionId, { content: content + id });
  await aMessage(database, sessionId, { content: content.repeat(3) });
  const page = async (after: number) => {
    const { rows, hasMore } = await listMessages(database, sessionId, { after, limit: 100 });
    return [rows.map(({ position }) => position), hasMore];
  };

  expect([await page(0), await page(2), await page(3)]).toEqual([
    [[1, 2], true],
    [[3], true],
    [[4], false],
  ]);
  expect(await page(4)).toEqual([[], false]);
});

test("only so many messages may come and be taken back while one turn runs, which its workflow hears of", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const running = await aMessage(database, await aSession(database));
  await aStep(database, running);
  const come = () => aMessage(database, running.sessionId);
  for (let number = 0; number < LIMITS.messagesRemovedPerTurn; number++) {
    expect(await remove(database, await come())).toBe(true);
  }

  await expect(come()).rejects.toMatchObject({ code: "QUEUE_FULL", message: expect.stringContaining("taken back") });

  await endTurn(database, completed(running));
  expect(await come()).toMatchObject({ sessionId: running.sessionId });
});

test("a message that is taken back again is not told again", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const message = await aMessage(database, await aSession(database));

  expect(await remove(database, message)).toBe(true);
  expect(await remove(database, message)).toBe(false);
});
