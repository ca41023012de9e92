/** A decision on a call: the first stands, it is bound to call and arguments, and it brings all it means in one transaction. */
import { describe, expect, test } from "vitest";
import { type CallId, newId } from "../../contract/ids.ts";
import { decideApproval } from "../../store/approvals.ts";
import { beginCall } from "../../store/calls.ts";
import { contentHash } from "../../store/content-hash.ts";
import type { Database } from "../../store/database.ts";
import { listGrants } from "../../store/grants.ts";
import { endTurn } from "../../store/turns.ts";
import { expireWait, openWait, undeliveredWaits } from "../../store/waits.ts";
import { aSession, logOf, temporaryStore } from "./store-builder.ts";
import {
  ARGUMENTS,
  ARGUMENTS_HASH,
  approval,
  aWaitingTurn,
  callOf,
  decide,
  factsOf,
  HOUR_MS,
  statusOf,
  type Wanted,
} from "./waits-builder.ts";

/** One call that waits for an approval. */
async function aWaitingCall(request = approval(), wanted: Wanted = {}) {
  const store = await temporaryStore();
  const { database } = store;
  const turn = await aWaitingTurn(database, [request], wanted);
  const [callId = "call_none"] = turn.calls;
  const dispose = () => store[Symbol.asyncDispose]();
  return { ...turn, database, key: { sessionId: turn.sessionId, callId }, callId, [Symbol.asyncDispose]: dispose };
}

const allGrants = (database: Database) => listGrants(database, { revoked: false, limit: 100 });

test("a call that asks is shown with the exact arguments and why, and the session waits", async () => {
  await using waiting = await aWaitingCall();
  const { database, sessionId, callId } = waiting;

  expect(await statusOf(database, sessionId)).toBe("waiting");
  expect(await factsOf(database, sessionId, callId)).toMatchObject([
    {
      type: "approval.requested",
      arguments: ARGUMENTS,
      argumentsHash: ARGUMENTS_HASH,
      reason: "bash changes the world",
    },
  ]);
});

test("an approved call may be run, and the session runs on", async () => {
  await using waiting = await aWaitingCall();
  const { database, sessionId, callId, key } = waiting;

  const taken = await decideApproval(database, { ...key, body: decide("approve") });

  expect(taken).toMatchObject({ callId, decision: "approve", by: "person", scope: "once" });
  expect(await statusOf(database, sessionId)).toBe("running");
  expect((await callOf(database, sessionId, callId)).row).toMatchObject({ state: "planned", outcome: null, edited: 0 });
  expect(await undeliveredWaits(database, { limit: 9 })).toMatchObject([{ callId, verdict: { next: "run" } }]);
});

test("a denied call is never begun, and its reason is what the model is told", async () => {
  await using waiting = await aWaitingCall();
  const { database, sessionId, callId, key } = waiting;

  await decideApproval(database, { ...key, body: decide("deny", { reason: "not on a Friday" }) });

  const { row, results } = await callOf(database, sessionId, callId);
  expect(row).toMatchObject({ state: "done", outcome: "denied" });
  expect(results).toMatchObject([{ outcome: "denied", text: expect.stringContaining("not on a Friday") }]);
  expect((await factsOf(database, sessionId, callId)).slice(1)).toMatchObject([
    { type: "approval.decided", decision: "deny", by: "person", reason: "not on a Friday" },
    { type: "tool.completed", outcome: "denied" },
  ]);
  expect(await beginCall(database, key, undefined)).toEqual({ state: "done", outcome: "denied" });
  expect(await undeliveredWaits(database, { limit: 9 })).toMatchObject([{ verdict: { next: "over" } }]);
});

test("the session waits as long as one of its calls does, in whatever order they are decided", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const { sessionId, calls } = await aWaitingTurn(database, [approval(), approval(), approval()]);
  const [first = "call_none", second = "call_none", third = "call_none"] = calls;

  await decideApproval(database, { sessionId, callId: third, body: decide("deny") });
  await decideApproval(database, { sessionId, callId: first, body: decide("approve") });
  expect(await statusOf(database, sessionId)).toBe("waiting");
  await decideApproval(database, { sessionId, callId: second, body: decide("approve") });

  expect(await statusOf(database, sessionId)).toBe("running");
});

describe("edited arguments", () => {
  const edited = { command: "rm -r build/old" };

  test("are what the call is run with, and the log says so", async () => {
    await using waiting = await aWaitingCall();
    const { database, sessionId, callId, key } = waiting;

    const taken = await decideApproval(database, { ...key, body: decide("approve", { arguments: edited }) });

    expect(taken.arguments).toEqual(edited);
    const { row } = await callOf(database, sessionId, callId);
    expect(row).toMatchObject({ arguments_hash: contentHash(edited), edited: 1, state: "planned" });
    const begun = await beginCall(database, key, undefined);
    expect(begun).toMatchObject({ state: "begun", arguments: edited });
    expect((await factsOf(database, sessionId, callId)).slice(1)).toMatchObject([
      { type: "approval.decided", arguments: edited, argumentsHash: contentHash(edited) },
      { type: "tool.started", arguments: edited },
    ]);
  });

  test("of a denial are refused, and the call still waits", async () => {
    await using waiting = await aWaitingCall();
    const { database, sessionId, key } = waiting;

    const deciding = decideApproval(database, { ...key, body: decide("deny", { arguments: edited }) });

    await expect(deciding).rejects.toMatchObject({ code: "INVALID_INPUT", errors: [{ path: "/arguments" }] });
    expect(await statusOf(database, sessionId)).toBe("waiting");
  });
});

describe("a decision that comes second", () => {
  test("is refused with the first, and changes nothing", async () => {
    await using waiting = await aWaitingCall();
    const { database, sessionId, key } = waiting;
    const { callId: _callId, ...first } = await decideApproval(database, { ...key, body: decide("deny") });
    const before = await logOf(database, sessionId);

    const second = decideApproval(database, { ...key, body: decide("approve", { scope: "always" }) });

    await expect(second).rejects.toMatchObject({ code: "ALREADY_DECIDED", first });
    expect(await logOf(database, sessionId)).toEqual(before);
    expect(await allGrants(database)).toEqual([]);
  });

  test("with the key of the first is the first, and is answered as that was", async () => {
    await using waiting = await aWaitingCall();
    const { database, sessionId, key } = waiting;
    const deciding = { ...key, body: decide("approve"), key: "k1" };
    const first = await decideApproval(database, deciding);
    const before = await logOf(database, sessionId);

    expect(await decideApproval(database, deciding)).toEqual(first);
    await expect(decideApproval(database, { ...deciding, key: "k2" })).rejects.toMatchObject({
      first: { by: "person" },
    });
    expect(await logOf(database, sessionId)).toEqual(before);
  });

  test("after the turn has ended is refused with the stop", async () => {
    await using waiting = await aWaitingCall();
    const { database, sessionId, ids, callId, key } = waiting;
    await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" });

    const late = decideApproval(database, { ...key, body: decide("approve") });

    await expect(late).rejects.toMatchObject({ code: "ALREADY_DECIDED", first: { decision: "deny", by: "stop" } });
    expect((await factsOf(database, sessionId, callId)).slice(1)).toMatchObject([
      { type: "approval.decided", by: "stop" },
    ]);
    expect((await callOf(database, sessionId, callId)).results).toMatchObject([{ outcome: "interrupted" }]);
    expect(await undeliveredWaits(database, { limit: 9 })).toEqual([]);
  });

  test("after the deadline is refused, also when the turn has not seen the deadline yet", async () => {
    await using waiting = await aWaitingCall(approval(), { deadlineInMs: -1 });
    const { database, sessionId, callId, key } = waiting;

    const late = decideApproval(database, { ...key, body: decide("approve") });

    await expect(late).rejects.toMatchObject({ code: "ALREADY_DECIDED", first: { decision: "deny", by: "deadline" } });
    expect((await callOf(database, sessionId, callId)).results).toMatchObject([{ outcome: "denied" }]);
    expect(await undeliveredWaits(database, { limit: 9 })).toMatchObject([{ callId, verdict: { next: "over" } }]);
    expect(await expireWait(database, { ...key, kind: "approval" })).toEqual({ next: "over" });
  });
});

describe("a decision that is for something else", () => {
  test.each<[string, (callId: CallId) => { sessionId?: string; callId: CallId }]>([
    ["a call that is not there", () => ({ callId: newId("call") })],
    ["a call of another session", (callId) => ({ sessionId: "other", callId })],
  ])("%s is not found", async (_what, other) => {
    await using waiting = await aWaitingCall();
    const { database, key } = waiting;
    await aSession(database, { id: "other" });

    const deciding = decideApproval(database, { ...key, ...other(key.callId), body: decide("approve") });

    await expect(deciding).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await undeliveredWaits(database, { limit: 9 })).toEqual([]);
  });

  test("other arguments than were looked at are a conflict that names both", async () => {
    await using waiting = await aWaitingCall();
    const { database, sessionId, key } = waiting;
    const looked = contentHash({ command: "ls" });

    const deciding = decideApproval(database, { ...key, body: decide("approve", { argumentsHash: looked }) });

    await expect(deciding).rejects.toMatchObject({ code: "CONFLICT", message: expect.stringContaining(looked) });
    await expect(deciding).rejects.toThrow(ARGUMENTS_HASH);
    expect(await statusOf(database, sessionId)).toBe("waiting");
  });

  test("with the hash that was looked at it is taken", async () => {
    await using waiting = await aWaitingCall();
    const { database, key } = waiting;
    const body = decide("approve", { argumentsHash: ARGUMENTS_HASH });

    expect(await decideApproval(database, { ...key, body })).toMatchObject({ decision: "approve" });
  });
});

describe("a call of a tool that the caller runs", () => {
  test("goes to the caller once it is approved, with the edited arguments and a deadline of its own", async () => {
    await using waiting = await aWaitingCall(approval({ tool: { timeoutMs: 60_000, replay: "safe" } }));
    const { database, sessionId, callId, key } = waiting;
    const edited = { command: "ls" };

    const { at } = await decideApproval(database, { ...key, body: decide("approve", { arguments: edited }) });

    expect((await factsOf(database, sessionId, callId)).slice(1)).toMatchObject([
      { type: "approval.decided" },
      { type: "tool.requested", arguments: edited, argumentsHash: contentHash(edited), deadline: at + 60_000 },
    ]);
    expect(await statusOf(database, sessionId)).toBe("waiting");
    expect(await undeliveredWaits(database, { limit: 9 })).toMatchObject([
      { kind: "approval", verdict: { next: "wait", kind: "tool", deadline: at + 60_000 } },
    ]);
  });

  test("never gets there when it is denied", async () => {
    await using waiting = await aWaitingCall(approval({ tool: { timeoutMs: 60_000, replay: "safe" } }));
    const { database, sessionId, callId, key } = waiting;

    await decideApproval(database, { ...key, body: decide("deny") });

    const types = (await factsOf(database, sessionId, callId)).map(({ type }) => type);
    expect(types).toEqual(["approval.requested", "approval.decided", "tool.completed"]);
  });
});

describe("a call whose outcome was lost", () => {
  /** Approved, begun, lost, and asked again. */
  async function aLostCall() {
    const waiting = await aWaitingCall();
    const { database, sessionId, ids, callId, key } = waiting;
    await decideApproval(database, { ...key, body: decide("approve"), key: "first" });
    await beginCall(database, key, undefined);
    await database.write((tx) =>
      openWait(tx, {
        ...{ sessionId, turnId: ids.turnId, step: 1, callId, name: "bash" },
        ...{ arguments: ARGUMENTS, argumentsHash: ARGUMENTS_HASH, deadline: Date.now() + 2 * HOUR_MS },
        request: approval({ again: true }),
      }),
    );
    return waiting;
  }

  test("waits again for a decision of its own, which a late repeat of the first cannot make", async () => {
    await using lost = await aLostCall();
    const { database, sessionId, key, callId } = lost;

    const repeated = await decideApproval(database, { ...key, body: decide("approve"), key: "first" });

    expect(repeated).toMatchObject({ decision: "approve" });
    expect((await callOf(database, sessionId, callId)).row).toMatchObject({ state: "waiting" });
    expect(await statusOf(database, sessionId)).toBe("waiting");
  });

  test("is told to the model as unknown when it may not run again", async () => {
    await using lost = await aLostCall();
    const { database, sessionId, key, callId } = lost;

    await decideApproval(database, { ...key, body: decide("deny") });

    const { results } = await callOf(database, sessionId, callId);
    expect(results).toMatchObject([{ outcome: "unknown", text: expect.stringContaining("was not run again") }]);
  });

  test.each([
    ["edited", { arguments: { command: "ls" } }, "/arguments"],
    ["remembered", { scope: "always" as const }, "/scope"],
  ])("cannot be %s", async (_what, rest, path) => {
    await using lost = await aLostCall();
    const { database, key } = lost;

    const deciding = decideApproval(database, { ...key, body: decide("approve", rest) });

    await expect(deciding).rejects.toMatchObject({ code: "INVALID_INPUT", errors: [{ path }] });
  });
});
