/** Messages over HTTP: committed first, delivered in order, answered the same however often they are sent. */

import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import type { TurnId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { closeSession } from "../../store/session-closing.ts";
import { endTurn } from "../../store/turns.ts";
import { ApiWorld, aDelta, until } from "../support/api-world.ts";

describe("posting a message", () => {
  test("it is committed, delivered and answered with its turn", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const posted = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello" } });

    expect(posted).toMatchObject({ status: 202, body: { position: 0 } });
    expect(world.sessions.submitted).toMatchObject([{ sessionId: id, message: { turnId: posted.body["turnId"] } }]);
  });

  test("the same id again is the same message, also after its turn has ended", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const post = () => world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello", id: "m1" } });
    const first = await post();
    await endTurn(world.store.database, {
      sessionId: id,
      turnId: first.body["turnId"] as TurnId,
      messageId: "m1",
      outcome: "completed",
    });

    const again = await post();

    expect(again).toMatchObject({ status: 202, body: first.body });
    expect(world.sessions.submitted).toHaveLength(1);
  });

  test("the same Idempotency-Key is the same message in its session, and another one in the next", async () => {
    await using world = await ApiWorld.start();
    const [one, two] = [await world.createSession(), await world.createSession()];
    const post = (id: string) =>
      world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hi" }, headers: { "idempotency-key": "k" } });

    const [first, again, other] = [await post(one), await post(one), await post(two)];

    expect(again.body).toEqual(first.body);
    expect(other.body["messageId"]).not.toBe(first.body["messageId"]);
  });

  test("an id with other content is a conflict", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello", id: "m1" } });

    const other = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "bye", id: "m1" } });

    expect(other).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
  });

  test("twenty messages at once reach the workflow one at a time and in the order of the log", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const ids = Array.from({ length: 20 }, (_, n) => `m${n}`);

    const answers = await Promise.all(
      ids.map((messageId) =>
        world.call(`POST /v1/sessions/${id}/messages`, { json: { content: messageId, id: messageId } }),
      ),
    );

    const { body } = await world.call(`GET /v1/sessions/${id}/events`);
    const inLog = (body["events"] as { type: string; messageId: string }[])
      .filter((event) => event.type === "message.received")
      .map((event) => event.messageId);
    expect(answers.map((answer) => answer.status)).toEqual(ids.map(() => 202));
    expect(world.sessions.submitted.map(({ message }) => message.messageId)).toEqual(inLog);
    expect(new Set(inLog).size).toBe(20);
    expect(world.sessions.mostInFlight).toBe(1);
  });

  test("one message more than may wait is refused until there is room", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    for (let n = 0; n < LIMITS.messagesWaiting; n++) {
      await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "x" } });
    }

    const refused = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "x" } });

    expect(refused).toMatchObject({ status: 429, body: { code: "QUEUE_FULL", retryable: true } });
  });

  test.each([
    ["no content", {}, "/content"],
    ["empty content", { content: "" }, "/content"],
    ["a number as content", { content: 5 }, "/content"],
    ["no blocks", { content: [] }, "/content"],
    ["nothing but space", { content: " \n\t" }, "/content"],
    ["a block that says nothing", { content: [{ type: "text", text: "" }] }, "/content"],
    ["an unknown block", { content: [{ type: "video" }] }, "/content/0/type"],
    ["an image without a source", { content: [{ type: "image" }] }, "/content/0"],
    ["an unknown mode", { content: "x", mode: "someday" }, "/mode"],
    ["an id with a slash", { content: "x", id: "a/b" }, "/id"],
    ["more text than a message may have", { content: "x".repeat(LIMITS.messageBytesMax) }, "/content"],
  ])("%s is refused with its place", async (_what, json, place) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const refused = await world.call(`POST /v1/sessions/${id}/messages`, { json });

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path: place }] } });
  });

  test("a message to an unknown session is a 404, to a closed one a 409", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await closeSession(world.store.database, id);

    const unknown = await world.call("POST /v1/sessions/nobody/messages", { json: { content: "x" } });
    const closed = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "x" } });

    expect(unknown).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
    expect(closed).toMatchObject({ status: 409, body: { code: "SESSION_CLOSED" } });
  });
});

describe("when the workflow cannot be reached", () => {
  test("a message is accepted while Temporal is away, and delivered when it is back", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.fail("unreachable", "submit");

    const posted = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello", id: "m1" } });
    world.sessions.recover();

    expect(posted).toMatchObject({ status: 202, body: { messageId: "m1", position: 0 } });
    await until(() => world.sessions.submitted.length === 1, LIMITS.undeliveredAfterMs + 4_000);
  });

  test("a later message does not overtake one that could not be delivered", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.failFor("unanswered", "m1");
    const post = (messageId: string) =>
      world.call(`POST /v1/sessions/${id}/messages`, { json: { content: messageId, id: messageId } });

    const answers = [await post("m1"), await post("m2")];
    world.sessions.recover();
    await post("m3");

    expect(answers.map((answer) => answer.status)).toEqual([202, 202]);
    expect(world.sessions.submitted.map(({ message }) => message.messageId)).toEqual(["m1", "m2", "m3"]);
  });

  test("a session whose start was lost is started by its first message", async () => {
    await using world = await ApiWorld.start();
    world.sessions.fail("unreachable", "start");
    const id = await world.createSession();
    world.sessions.recover();

    const posted = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello" } });

    expect(posted.status).toBe(202);
    expect(world.sessions.started.has(id)).toBe(true);
    expect(world.sessions.submitted).toHaveLength(1);
  });

  test("a session whose workflow was terminated from outside is begun anew, and gets the message", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.ended.add(id);

    const posted = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello" } });

    const { body } = await world.call(`GET /v1/sessions/${id}`);
    expect(posted.status).toBe(202);
    expect(world.sessions.submitted).toHaveLength(1);
    expect(body["closedAt"]).toBeNull();
  });

  test("a message that the workflow refuses is a 409, in the log and again when it is repeated", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.fail("refused", "submit");
    const post = () => world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello", id: "m1" } });

    const first = await post();
    world.sessions.recover();
    const again = await post();

    const { body } = await world.call(`GET /v1/sessions/${id}/events`);
    expect([first.status, again.status]).toEqual([409, 409]);
    expect((body["events"] as { type: string }[]).at(-1)?.type).toBe("message.refused");
  });
});

describe("when the database is locked by another process", () => {
  test("a message is a 503 that says so, and the next one is taken", {
    timeout: LIMITS.databaseBusyMs + 10_000,
  }, async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const other = new DatabaseSync(path.join(world.stateDir, "perdure.db"));
    other.exec("begin immediate");

    const locked = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello" } });
    const read = await world.call(`GET /v1/sessions/${id}`);
    other.exec("rollback");
    other.close();
    const after = await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello" } });

    expect(locked).toMatchObject({ status: 503, body: { code: "STORAGE_ERROR", retryable: true } });
    expect([read.status, after.status]).toEqual([200, 202]);
  });
});

describe("waiting for the turn", () => {
  test("the turn is in the answer when it ends in time", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const posting = world.call(`POST /v1/sessions/${id}/messages?wait=5s`, { json: { content: "hello", id: "m1" } });
    await until(() => world.sessions.submitted.length === 1);
    const turnId = world.sessions.submitted[0]?.message.turnId as TurnId;
    await world.append(id, aDelta(1));
    const failure = { code: "RATE_LIMIT", message: "slow down", retryable: true } as const;
    await endTurn(world.store.database, { sessionId: id, turnId, messageId: "m1", outcome: "failed", failure });

    expect(await posting).toMatchObject({
      status: 200,
      body: { messageId: "m1", turn: { turnId, outcome: "failed", ...failure } },
    });
  });

  test("a message whose turn ended long ago is answered at once", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const post = (query = "") =>
      world.call(`POST /v1/sessions/${id}/messages${query}`, { json: { content: "x", id: "m1" } });
    const { body } = await post();
    await endTurn(world.store.database, {
      sessionId: id,
      turnId: body["turnId"] as TurnId,
      messageId: "m1",
      outcome: "completed",
    });

    expect(await post("?wait=2m")).toMatchObject({ status: 200, body: { turn: { outcome: "completed" } } });
  });

  test("without an end in time the answer is 202", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    expect(await world.call(`POST /v1/sessions/${id}/messages?wait=50ms`, { json: { content: "x" } })).toMatchObject({
      status: 202,
    });
  });

  test("a session that closes meanwhile ends the wait", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const posting = world.call(`POST /v1/sessions/${id}/messages?wait=2m`, { json: { content: "x" } });
    await until(() => world.sessions.submitted.length === 1);
    await closeSession(world.store.database, id);

    expect((await posting).status).toBe(202);
  });

  test.each(["30", "-1s", "3m", "1h", "", "1e3ms", "999999999s"])("?wait=%s is refused", async (wait) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const refused = await world.call(`POST /v1/sessions/${id}/messages?wait=${wait}`, { json: { content: "x" } });

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/query/wait" }] } });
    expect(world.sessions.submitted).toEqual([]);
  });
});

test("a waiting message is listed and can be taken back, once and for good", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  const messages = `/v1/sessions/${id}/messages`;
  for (const name of ["a", "b"]) await world.call(`POST ${messages}`, { json: { id: name, content: name } });

  const before = await world.call(`GET ${messages}?state=waiting&limit=1`);
  const answers = [
    await world.call(`DELETE ${messages}/b`),
    await world.call(`DELETE ${messages}/b`),
    await world.call(`DELETE ${messages}/none`),
  ];
  const after = await world.call(`GET ${messages}?state=removed`);
  const again = await world.call(`POST ${messages}`, { json: { id: "b", content: "b" } });

  expect(before.body).toMatchObject({ messages: [{ messageId: "a", state: "waiting", content: "a" }], next: "1" });
  expect(answers.map(({ status }) => status)).toEqual([204, 204, 404]);
  expect(after.body).toMatchObject({ messages: [{ messageId: "b", state: "removed" }], next: null });
  expect(again).toMatchObject({ status: 409, body: { detail: expect.stringContaining("taken back") } });
  // Each telling is a part of the workflow's history: a repeat costs it nothing.
  expect(world.sessions.removed).toEqual(["b"]);
});

test("who waits for the turn of a message is answered when it is taken back", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  const messages = `/v1/sessions/${id}/messages`;
  const posting = world.call(`POST ${messages}?wait=2m`, { json: { id: "m1", content: "x" } });
  await until(() => world.sessions.submitted.length > 0);

  await world.call(`DELETE ${messages}/m1`);

  expect((await posting).status).toBe(202);
});
