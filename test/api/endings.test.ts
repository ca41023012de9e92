/** Interrupting, closing and deleting over HTTP. */
import { describe, expect, test } from "vitest";
import type { TurnId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { closeSession } from "../../store/session-closing.ts";
import { beginTurn } from "../../store/turns.ts";
import { ApiWorld } from "../support/api-world.ts";

describe("interrupting", () => {
  test("an idle session says that nothing ran, and that is no error", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    expect(await world.call(`POST /v1/sessions/${id}/interrupt`)).toMatchObject({
      status: 202,
      body: { interrupted: false },
    });
  });

  test("a running session is told, with the turn that is meant", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const sent = await world.call(`POST /v1/sessions/${id}/messages`, { json: { id: "m1", content: "hello" } });
    const { turnId } = sent.body as { turnId: TurnId };
    await world.store.database.write((tx) => beginTurn(tx, { sessionId: id, turnId, messageId: "m1" }));

    const answer = await world.call(`POST /v1/sessions/${id}/interrupt`, { json: { turnId } });
    const any = await world.call(`POST /v1/sessions/${id}/interrupt`);
    const other = await world.call(`POST /v1/sessions/${id}/interrupt`, { json: { turnId: "turn_other" } });

    expect(answer).toMatchObject({ status: 202, body: { interrupted: true } });
    expect(any).toMatchObject({ status: 202, body: { interrupted: true } });
    expect(other).toMatchObject({
      status: 202,
      body: { interrupted: false, message: expect.stringContaining("turn_other does not run") },
    });
    expect(world.sessions.interrupts).toContainEqual({ sessionId: id, request: { turnId } });
  });

  test("a turn that is interrupted over and over is told of it once", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const sent = await world.call(`POST /v1/sessions/${id}/messages`, { json: { id: "m1", content: "hello" } });
    const { turnId } = sent.body as { turnId: TurnId };
    await world.store.database.write((tx) => beginTurn(tx, { sessionId: id, turnId, messageId: "m1" }));

    world.sessions.fail("unreachable", "interrupt");
    expect((await world.call(`POST /v1/sessions/${id}/interrupt`)).status).toBe(503);
    world.sessions.recover();
    for (let i = 0; i < 20; i++) await world.call(`POST /v1/sessions/${id}/interrupt`);
    await world.call(`POST /v1/sessions/${id}/interrupt`, { json: { turnId: "turn_other" } });

    expect(world.sessions.interrupts).toEqual([{ sessionId: id, request: { turnId } }]);
  });

  test("a turn that is about to begin is told of many stops at once", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await world.call(`POST /v1/sessions/${id}/messages`, { json: { id: "m1", content: "hello" } });

    const stops = Array.from({ length: 50 }, () => world.call(`POST /v1/sessions/${id}/interrupt`));
    expect((await Promise.all(stops)).map(({ status }) => status)).toEqual(Array.from({ length: 50 }, () => 202));

    expect(world.sessions.interrupts.length).toBeLessThanOrEqual(1 + Math.ceil(15_000 / LIMITS.stopEveryMs));
    expect(world.sessions.interrupts.length).toBeGreaterThan(0);
  });

  test("a message that is taken back over and over is taken from its workflow once", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await world.call(`POST /v1/sessions/${id}/messages`, { json: { id: "m1", content: "hello" } });

    for (let i = 0; i < 5; i++) expect((await world.call(`DELETE /v1/sessions/${id}/messages/m1`)).status).toBe(204);

    expect(world.sessions.removed).toEqual(["m1"]);
  });

  test.each([
    ["a turn id without its prefix", { turnId: "1" }, "/turnId"],
    ["an unknown field", { reason: "x" }, "/reason"],
  ])("%s is refused", async (_what, json, path) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const refused = await world.call(`POST /v1/sessions/${id}/interrupt`, { json });

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path }] } });
  });

  test("an unknown session is a 404, a closed one a 409, and without Temporal it is a 503", async () => {
    await using world = await ApiWorld.start();
    const [open, closed] = [await world.createSession(), await world.createSession()];
    await closeSession(world.store.database, closed);
    world.sessions.fail("unreachable", "interrupt");
    const idle = await world.call(`POST /v1/sessions/${open}/interrupt`);
    expect(idle).toMatchObject({ status: 202, body: { interrupted: false } }); // Nobody had to be told.
    await world.store.database.write((tx) => tx.updateTable("sessions").set({ status: "running" }).execute());

    const unknown = await world.call("POST /v1/sessions/nobody/interrupt");
    const over = await world.call(`POST /v1/sessions/${closed}/interrupt`);
    const away = await world.call(`POST /v1/sessions/${open}/interrupt`);

    expect(unknown).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
    expect(over).toMatchObject({ status: 409, body: { code: "SESSION_CLOSED" } });
    expect(away).toMatchObject({ status: 503, body: { code: "UNAVAILABLE", retryable: true } });
    expect(away.headers.get("retry-after")).toBe("1");
  });
});

describe("closing", () => {
  test("an open session is asked to close, and closing it again is fine", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const first = await world.call(`POST /v1/sessions/${id}/close`, { json: {} });
    const again = await world.call(`POST /v1/sessions/${id}/close`);

    expect(first).toMatchObject({ status: 202, body: { closed: false } });
    expect(again).toMatchObject({ status: 200, body: { closed: true } });
  });

  test("a session whose start was lost is started, so that it can close", async () => {
    await using world = await ApiWorld.start();
    world.sessions.fail("unreachable", "start");
    const id = await world.createSession();
    world.sessions.recover();

    await world.call(`POST /v1/sessions/${id}/close`);

    expect((await world.call(`GET /v1/sessions/${id}`)).body["status"]).toBe("closed");
  });

  test("a session whose workflow was terminated is closed all the same", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.ended.add(id);

    expect((await world.call(`POST /v1/sessions/${id}/close`)).status).toBe(202);

    expect((await world.call(`GET /v1/sessions/${id}`)).body["status"]).toBe("closed");
  });
});

describe("deleting", () => {
  test("a session is closed and gone, and the second time it is not there", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const first = await world.call(`DELETE /v1/sessions/${id}`);
    const again = await world.call(`DELETE /v1/sessions/${id}`);

    expect(first.status).toBe(204);
    expect(again).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
    expect(world.sessions.count("purge")).toBe(1);
  });

  test("two deletes at once leave nothing behind", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const answers = await Promise.all([
      world.call(`DELETE /v1/sessions/${id}`),
      world.call(`DELETE /v1/sessions/${id}`),
    ]);

    expect(answers.map((answer) => answer.status).every((status) => status === 204 || status === 404)).toBe(true);
    expect((await world.call(`GET /v1/sessions/${id}`)).status).toBe(404);
  });

  test("without a worker that closes it, a session stays and the answer says why", {
    timeout: LIMITS.closeWaitMs + 10_000,
  }, async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.closes = false;

    const refused = await world.call(`DELETE /v1/sessions/${id}`);

    expect(refused).toMatchObject({ status: 503, body: { code: "UNAVAILABLE" } });
    expect((await world.call(`GET /v1/sessions/${id}`)).status).toBe(200);
  });
});
