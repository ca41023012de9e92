/** Deciding over HTTP: the inbox, what a decision must be, and what the first one means for the second. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import type { Approval } from "../../contract/waits.ts";
import { contentHash } from "../../store/content-hash.ts";
import { endTurn } from "../../store/turns.ts";
import { ARGUMENTS, ARGUMENTS_HASH, approval, aWaitingTurn, statusOf, type Wanted } from "../store/waits-builder.ts";
import { ApiWorld } from "../support/api-world.ts";

/** An API and a call that waits for an approval in one of its sessions. */
async function aWaitingCall(request = approval(), wanted: Wanted = {}) {
  const world = await ApiWorld.start();
  const turn = await aWaitingTurn(world.store.database, [request], wanted);
  const [callId = "call_none"] = turn.calls;
  const route = `POST /v1/sessions/${turn.sessionId}/approvals/${callId}`;
  const decide = (json: unknown, headers: Record<string, string> = {}) => world.call(route, { json, headers });
  return { ...turn, world, callId, decide, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const approvalsIn = (body: Record<string, unknown>) => body["approvals"] as Approval[];

describe("the inbox", () => {
  test("shows what waits in all sessions, what has waited longest first, with the exact arguments and why", async () => {
    await using world = await ApiWorld.start();
    const { database } = world.store;
    const first = await aWaitingTurn(database, [approval()], { agent: { name: "cleaner" } });
    await aWaitingTurn(database, [approval(), approval()]);

    const { body } = await world.call("GET /v1/approvals?status=pending");

    expect(approvalsIn(body)).toHaveLength(3);
    expect(approvalsIn(body)[0]).toMatchObject({
      ...{ sessionId: first.sessionId, callId: first.calls[0], name: "bash", state: "pending", agent: "cleaner" },
      ...{ arguments: ARGUMENTS, argumentsHash: ARGUMENTS_HASH, reason: "bash changes the world", decision: null },
    });
  });

  test("is read page by page, each approval once", async () => {
    await using world = await ApiWorld.start();
    const { calls } = await aWaitingTurn(
      world.store.database,
      Array.from({ length: 5 }, () => approval()),
    );
    for (const status of ["pending", ""]) {
      const seen: string[] = [];
      for (let cursor = ""; cursor !== "null"; ) {
        const { body } = await world.call(
          `GET /v1/approvals?limit=2${status && `&status=${status}`}${cursor && `&cursor=${cursor}`}`,
        );
        seen.push(...approvalsIn(body).map(({ callId }) => callId));
        cursor = String(body["next"]);
      }
      expect(seen.toSorted()).toEqual([...calls].toSorted());
    }
  });

  test.each<[string, (of: { sessionId: string }) => string, number]>([
    ["a session", ({ sessionId }) => `sessionId=${sessionId}`, 1],
    ["an agent", () => "agent=cleaner", 1],
    ["another agent", () => "agent=nobody", 0],
    ["a state", () => "status=decided", 0],
  ])("is narrowed to %s", async (_what, query, count) => {
    await using waiting = await aWaitingCall(approval(), { agent: { name: "cleaner" } });
    await aWaitingTurn(waiting.world.store.database, [approval()]);

    const { body } = await waiting.world.call(`GET /v1/approvals?${query(waiting)}`);

    expect(approvalsIn(body)).toHaveLength(count);
  });

  test("of one session shows what was decided, and by whom", async () => {
    await using waiting = await aWaitingCall();
    await waiting.decide({ decision: "deny", reason: "no" });

    const { body } = await waiting.world.call(`GET /v1/sessions/${waiting.sessionId}/approvals?status=decided`);

    expect(approvalsIn(body)).toMatchObject([
      { state: "decided", decision: { decision: "deny", reason: "no", by: "person" } },
    ]);
  });

  test("is counted in the metrics", async () => {
    await using waiting = await aWaitingCall();
    const metric = async () => (await waiting.world.call("GET /metrics")).bytes.toString();

    expect(await metric()).toContain("perdure_approvals_pending 1\n");
    await waiting.decide({ decision: "approve" });
    expect(await metric()).toContain("perdure_approvals_pending 0\n");
  });

  test.each([
    ["status=waiting", "/query/status"],
    ["limit=0", "/query/limit"],
    ["cursor=x", "/query/cursor"],
    ["sessionId=..", "/query/sessionId"],
    ["session=x", "/query/session"],
  ])("refuses ?%s", async (query, path) => {
    await using world = await ApiWorld.start();

    expect(await world.call(`GET /v1/approvals?${query}`)).toMatchObject({ status: 400, body: { errors: [{ path }] } });
  });

  test("of a session that is not there is a 404", async () => {
    await using world = await ApiWorld.start();

    expect(await world.call("GET /v1/sessions/nobody/approvals")).toMatchObject({ status: 404 });
  });
});

describe("a decision", () => {
  test("is answered as it stands, and its turn is told at once", async () => {
    await using waiting = await aWaitingCall();
    const { world, sessionId, callId } = waiting;

    const taken = await waiting.decide({ decision: "approve", argumentsHash: ARGUMENTS_HASH });

    expect(taken).toMatchObject({ status: 200, body: { callId, decision: "approve", by: "person", scope: "once" } });
    expect(world.sessions.endedWaits).toMatchObject([
      { sessionId, wait: { callId, kind: "approval", verdict: { next: "run" } } },
    ]);
  });

  test("that comes second is a 409 with the first", async () => {
    await using waiting = await aWaitingCall();
    const first = await waiting.decide({ decision: "deny" });

    const second = await waiting.decide({ decision: "approve" });

    const { callId: _callId, ...decision } = first.body;
    expect(second).toMatchObject({ status: 409, body: { code: "ALREADY_DECIDED", retryable: false, first: decision } });
    expect(waiting.world.sessions.endedWaits).toHaveLength(1);
  });

  test("with the same Idempotency-Key is the same decision", async () => {
    await using waiting = await aWaitingCall();
    const headers = { "idempotency-key": "k1" };
    const first = await waiting.decide({ decision: "approve" }, headers);

    const again = await waiting.decide({ decision: "approve" }, headers);

    expect([first.status, again.status]).toEqual([200, 200]);
    expect(again.body).toEqual(first.body);
  });

  test("with the same Idempotency-Key and another decision is a conflict, and the first stands", async () => {
    await using waiting = await aWaitingCall();
    const headers = { "idempotency-key": "k1" };
    await waiting.decide({ decision: "approve" }, headers);

    const other = await waiting.decide({ decision: "deny" }, headers);
    const again = await waiting.decide({ decision: "approve" }, headers);

    expect(other).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
    expect(again).toMatchObject({ status: 200, body: { decision: "approve" } });
  });

  test("on a stopped turn's call is a 409 that says so", async () => {
    await using waiting = await aWaitingCall();
    await endTurn(waiting.world.store.database, { ...waiting.ids, outcome: "interrupted", reason: "interrupted" });

    const late = await waiting.decide({ decision: "approve" });

    expect(late).toMatchObject({ status: 409, body: { code: "ALREADY_DECIDED", first: { by: "stop" } } });
  });

  test("after the deadline is a 409 with the denial, and its turn is told of that", async () => {
    await using waiting = await aWaitingCall(approval(), { deadlineInMs: -1 });

    const late = await waiting.decide({ decision: "approve" });

    expect(late).toMatchObject({ status: 409, body: { first: { decision: "deny", by: "deadline" } } });
    expect(waiting.world.sessions.endedWaits).toMatchObject([{ wait: { verdict: { next: "over" } } }]);
  });

  test("for a call that is gone, or of another session, is a 404", async () => {
    await using waiting = await aWaitingCall();
    const { world, sessionId, callId } = waiting;
    const other = await world.createSession();
    const json = { decision: "approve" };

    const gone = await world.call(`POST /v1/sessions/${sessionId}/approvals/call_gone`, { json });
    const strange = await world.call(`POST /v1/sessions/${other}/approvals/${callId}`, { json });
    const nowhere = await world.call(`POST /v1/sessions/nobody/approvals/${callId}`, { json });

    expect(gone).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    expect(strange).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    expect(nowhere).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
    expect(await statusOf(world.store.database, sessionId)).toBe("waiting");
  });

  test("for other arguments than the call has is a 409", async () => {
    await using waiting = await aWaitingCall();

    const refused = await waiting.decide({ decision: "approve", argumentsHash: contentHash({}) });

    expect(refused).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
    expect(waiting.world.sessions.endedWaits).toEqual([]);
  });

  test.each<[string, unknown, string]>([
    ["nothing", {}, "/decision"],
    ["another word", { decision: "allow" }, "/decision"],
    ["an unknown field", { decision: "approve", by: "me" }, "/by"],
    ["a hash that is none", { decision: "approve", argumentsHash: "abc" }, "/argumentsHash"],
    ["a scope that is none", { decision: "approve", scope: "forever" }, "/scope"],
    ["a project that the session has not", { decision: "approve", scope: "project" }, "/scope"],
    ["an empty reason", { decision: "deny", reason: "" }, "/reason"],
    ["too long a reason", { decision: "deny", reason: "x".repeat(LIMITS.reasonCharactersMax + 1) }, "/reason"],
    ["arguments that are no object", { decision: "approve", arguments: [] }, "/arguments"],
    ["arguments of a denial", { decision: "deny", arguments: { command: "ls" } }, "/arguments"],
    ["patterns that are not remembered", { decision: "approve", match: { command: "rm *" } }, "/match"],
    ["no patterns", { decision: "approve", scope: "always", match: {} }, "/match"],
    ["patterns of other calls", { decision: "approve", scope: "always", match: { command: "ls *" } }, "/match"],
  ])("that says %s is refused, and the call still waits", async (_what, body, path) => {
    await using waiting = await aWaitingCall();

    const refused = await waiting.decide(body);

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path }] } });
    expect(await statusOf(waiting.world.store.database, waiting.sessionId)).toBe("waiting");
  });
});

describe("edited arguments", () => {
  test("that fit the tool's schema are what the call gets", async () => {
    await using waiting = await aWaitingCall();

    const taken = await waiting.decide({ decision: "approve", arguments: { command: "ls" } });

    expect(taken).toMatchObject({ status: 200, body: { arguments: { command: "ls" } } });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ["of a wrong type", { command: 1 }, "/arguments/command"],
    ["that lack one", {}, "/arguments/command"],
    ["with one too many", { command: "ls", sudo: true }, "/arguments/sudo"],
    ["that are too short", { command: "" }, "/arguments/command"],
  ])("%s are refused with the place", async (_what, args, path) => {
    await using waiting = await aWaitingCall();

    const refused = await waiting.decide({ decision: "approve", arguments: args });

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path }] } });
    expect(await statusOf(waiting.world.store.database, waiting.sessionId)).toBe("waiting");
  });

  test("that the session's policy denies are refused with its reason", async () => {
    const policy = {
      default: "ask" as const,
      rules: [{ tool: "bash", arguments: { command: "curl *" }, action: "deny" as const, reason: "no network" }],
    };
    await using waiting = await aWaitingCall(approval(), { agent: { policy } });

    const refused = await waiting.decide({ decision: "approve", arguments: { command: "curl example.com" } });

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/arguments" }] } });
    expect(refused.body["detail"]).toContain("no network");
  });

  test("that reach a prototype are refused", async () => {
    await using waiting = await aWaitingCall();
    const text = '{"decision": "approve", "arguments": {"command": "ls", "__proto__": {"a": 1}}}';

    const route = `POST /v1/sessions/${waiting.sessionId}/approvals/${waiting.callId}`;
    const refused = await waiting.world.call(route, { text, headers: { "content-type": "application/json" } });

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/arguments/__proto__" }] } });
  });

  test("of a tool whose schema takes years to check are refused within its time", async () => {
    const schema = { type: "object", properties: { command: { type: "string", pattern: "^(a+)+$" } } };
    await using waiting = await aWaitingCall(approval({ schema }));

    const refused = await waiting.decide({ decision: "approve", arguments: { command: `${"a".repeat(40)}!` } });

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/arguments" }] } });
  });
});

describe("remembered decisions", () => {
  test("are listed by what they are for, and revoked once and for all", async () => {
    await using waiting = await aWaitingCall(approval(), { metadata: { project: "web" } });
    const { world, sessionId, callId } = waiting;
    const { body } = await waiting.decide({ decision: "approve", scope: "project", match: { command: "rm *" } });
    const grantId = String(body["grantId"]);

    const listed = await world.call("GET /v1/grants?scope=project&tool=bash");
    expect(listed.body).toMatchObject({
      grants: [{ id: grantId, project: "web", action: "allow", match: { command: "rm *" }, callId }],
      next: null,
    });
    expect((await world.call(`GET /v1/grants?sessionId=${sessionId}`)).body).toMatchObject({ grants: [] });

    for (let i = 0; i < 2; i++) expect((await world.call(`DELETE /v1/grants/${grantId}`)).status).toBe(204);
    expect((await world.call("GET /v1/grants")).body).toMatchObject({ grants: [] });
    expect((await world.call("GET /v1/grants?revoked=true")).body).toMatchObject({ grants: [{ id: grantId }] });
  });

  test("that are not there are a 404", async () => {
    await using world = await ApiWorld.start();

    expect(await world.call("DELETE /v1/grants/grant_none")).toMatchObject({
      status: 404,
      body: { code: "NOT_FOUND" },
    });
    expect(await world.call("DELETE /v1/grants/none")).toMatchObject({ status: 400 });
  });

  test.each([
    ["scope=once", "/query/scope"],
    ["revoked=yes", "/query/revoked"],
    ["cursor=%00", "/query/cursor"],
  ])("are not listed with ?%s", async (query, path) => {
    await using world = await ApiWorld.start();

    expect(await world.call(`GET /v1/grants?${query}`)).toMatchObject({ status: 400, body: { errors: [{ path }] } });
  });
});
