/** Answers and results of the caller's tools over HTTP, and how turns are told of every decision although Temporal is away. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { undeliveredWaits, type WaitRequest } from "../../store/waits.ts";
import { approval, aWaitingTurn, clientTool, question, statusOf } from "../store/waits-builder.ts";
import { ApiWorld, until } from "../support/api-world.ts";

/** An API and a call that waits. `post` goes to the kind's own path. */
async function aWaitingCall(request: WaitRequest) {
  const world = await ApiWorld.start();
  const turn = await aWaitingTurn(world.store.database, [request]);
  const [callId = "call_none"] = turn.calls;
  const folder = { approval: "approvals", question: "answers", tool: "tool-results" }[request.kind];
  const route = `POST /v1/sessions/${turn.sessionId}/${folder}/${callId}`;
  const post = (json: unknown, headers: Record<string, string> = {}) => world.call(route, { json, headers });
  return { ...turn, world, callId, post, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

describe("an answer", () => {
  test("is taken once; the second is a 409 with the first, a repeat is the first", async () => {
    await using waiting = await aWaitingCall(question({ choices: ["red", "green"] }));
    const headers = { "idempotency-key": "k" };

    const first = await waiting.post({ choice: 1 }, headers);

    expect(first).toMatchObject({ status: 200, body: { answer: "green", choice: 1, by: "person" } });
    expect(await waiting.post({ choice: 1 }, headers)).toMatchObject({ status: 200, body: first.body });
    expect(await waiting.post({ answer: "red" })).toMatchObject({ status: 409, body: { first: { answer: "green" } } });
    expect(waiting.world.sessions.endedWaits).toMatchObject([
      { wait: { kind: "question", verdict: { next: "over" } } },
    ]);
  });

  test.each<[string, unknown, string]>([
    ["nothing", {}, ""],
    ["both", { answer: "red", choice: 0 }, ""],
    ["no choice of those", { choice: 2 }, "/choice"],
    ["half a choice", { choice: 0.5 }, "/choice"],
    ["another text than a choice", { answer: "blue" }, "/answer"],
    ["an empty text", { answer: "" }, "/answer"],
    ["too long a text", { answer: "x".repeat(LIMITS.answerCharactersMax + 1) }, "/answer"],
    ["an unknown field", { answer: "red", why: "x" }, "/why"],
  ])("that says %s is refused, and the question still waits", async (_what, body, path) => {
    await using waiting = await aWaitingCall(question({ choices: ["red", "green"], allowFreeform: false }));

    const refused = await waiting.post(body);

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path }] } });
    expect(await statusOf(waiting.world.store.database, waiting.sessionId)).toBe("waiting");
  });

  test("to a call that asks for approval is a 404", async () => {
    await using waiting = await aWaitingCall(approval());
    const { world, sessionId, callId } = waiting;

    const refused = await world.call(`POST /v1/sessions/${sessionId}/answers/${callId}`, { json: { answer: "yes" } });

    expect(refused).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
  });
});

describe("a tool's result", () => {
  test.each<[unknown]>([["text"], [{ a: [1] }], [null], [false], [0], [""]])("may be any JSON: %j", async (result) => {
    await using waiting = await aWaitingCall(clientTool());

    expect(await waiting.post({ result })).toMatchObject({ status: 200, body: { outcome: "ok" } });
  });

  test("posted twice is a 409 with the first, and with the same key the same", async () => {
    await using waiting = await aWaitingCall(clientTool());
    const headers = { "idempotency-key": "k" };
    await waiting.post({ result: 1, outcome: "error" }, headers);

    expect(await waiting.post({ result: 1, outcome: "error" }, headers)).toMatchObject({ status: 200 });
    expect(await waiting.post({ result: 2 })).toMatchObject({ status: 409, body: { first: { outcome: "error" } } });
  });

  test("that is missing is asked for in words", async () => {
    await using waiting = await aWaitingCall(clientTool());

    const { body } = await waiting.post({ outcome: "ok" });

    expect(body).toMatchObject({ errors: [{ path: "/result", message: "this is required" }] });
  });

  test.each<[string, unknown, string]>([
    ["nothing", {}, "/result"],
    ["another outcome", { result: 1, outcome: "denied" }, "/outcome"],
    ["an unknown field", { result: 1, text: "" }, "/text"],
  ])("that says %s is refused", async (_what, body, path) => {
    await using waiting = await aWaitingCall(clientTool());

    expect(await waiting.post(body)).toMatchObject({ status: 400, body: { errors: [{ path }] } });
  });
});

describe("a turn", () => {
  const undelivered = (world: ApiWorld) => undeliveredWaits(world.store.database, { limit: 99 });

  test("that cannot be told is told when Temporal is back; the decision was answered meanwhile", async () => {
    await using waiting = await aWaitingCall(approval());
    const { world, callId } = waiting;
    world.sessions.fail("unreachable", "endWait");

    expect(await waiting.post({ decision: "approve" })).toMatchObject({ status: 200 });
    expect(await undelivered(world)).toMatchObject([{ callId }]);
    world.sessions.recover();

    await until(async () => (await undelivered(world)).length === 0);
    expect(world.sessions.endedWaits).toMatchObject([{ wait: { callId } }]);
  });

  test("is told of an approval before its tool's result", async () => {
    await using waiting = await aWaitingCall(approval({ tool: { timeoutMs: 60_000, replay: "safe" } }));
    const { world, sessionId, callId } = waiting;
    world.sessions.fail("unanswered", "endWait");
    await waiting.post({ decision: "approve" });
    await world.call(`POST /v1/sessions/${sessionId}/tool-results/${callId}`, { json: { result: "done" } });
    world.sessions.recover();

    await until(() => world.sessions.endedWaits.length === 2);
    expect(world.sessions.endedWaits.map(({ wait }) => wait.kind)).toEqual(["approval", "tool"]);
  });

  test("whose workflow refuses is told again as long as it runs, and no longer", async () => {
    await using waiting = await aWaitingCall(approval());
    const { world } = waiting;
    world.sessions.fail("refused", "endWait");
    await waiting.post({ decision: "approve" });
    await until(() => world.sessions.count("endWait") >= 2);
    expect(await undelivered(world)).toHaveLength(1);

    await world.store.database.write((tx) => tx.updateTable("turns").set({ state: "failed" }).execute());

    await until(async () => (await undelivered(world)).length === 0);
  });

  test("whose workflow is gone is begun anew, and told", async () => {
    await using waiting = await aWaitingCall(approval());
    const { world, sessionId } = waiting;
    world.sessions.ended.add(sessionId);

    expect(await waiting.post({ decision: "approve" })).toMatchObject({ status: 200 });

    await until(async () => (await undelivered(world)).length === 0);
    expect(world.sessions.ended.has(sessionId)).toBe(false);
    expect((await world.call(`GET /v1/sessions/${sessionId}`)).body["closedAt"]).toBeNull();
  });

  test("that does not answer keeps no other from being told", async () => {
    await using world = await ApiWorld.start();
    const turns = await Promise.all(
      Array.from({ length: LIMITS.reconcileSessionsAtOnce + 4 }, () =>
        aWaitingTurn(world.store.database, [approval()]),
      ),
    );
    const [last] = turns.slice(-1);
    world.sessions.fail("unreachable", "endWait");
    for (const { sessionId, calls } of turns) {
      await world.call(`POST /v1/sessions/${sessionId}/approvals/${calls[0]}`, { json: { decision: "approve" } });
    }
    world.sessions.recover();
    for (const { calls } of turns)
      if (calls[0] && calls !== last?.calls) world.sessions.failFor("unanswered", calls[0]);

    await until(() => world.sessions.endedWaits.length === 1);
    expect(world.sessions.endedWaits[0]?.wait.callId).toBe(last?.calls[0]);
  });

  test("of an API that drains is told by the next one", async () => {
    const world = await ApiWorld.start();
    await using _world = world;
    const { sessionId, calls } = await aWaitingTurn(world.store.database, [approval()]);
    world.sessions.fail("unreachable", "endWait");
    await world.call(`POST /v1/sessions/${sessionId}/approvals/${calls[0]}`, { json: { decision: "deny" } });

    await world.api.drain();

    const tries = world.sessions.count("endWait");
    expect(await undelivered(world)).toHaveLength(1);
    expect(tries).toBeGreaterThan(0);
  });
});
