/** Remembered decisions: in their scope and for their tool only, one for the same calls, and revocable. */
import { describe, expect, test } from "vitest";
import type { GrantId } from "../../contract/ids.ts";
import type { DecideApproval } from "../../contract/waits.ts";
import { decideApproval } from "../../store/approvals.ts";
import { contentHash } from "../../store/content-hash.ts";
import type { Database } from "../../store/database.ts";
import { activeGrants, listGrants, revokeGrant } from "../../store/grants.ts";
import { temporaryStore } from "./store-builder.ts";
import { ARGUMENTS_HASH, approval, aWaitingTurn, decide, type Wanted } from "./waits-builder.ts";

/** A decision that is remembered, on a call of its own. */
async function remembered(
  database: Database,
  decision: "approve" | "deny",
  rest: Partial<DecideApproval>,
  wanted: Wanted = {},
) {
  const { sessionId, calls } = await aWaitingTurn(database, [approval()], wanted);
  const [callId = "call_none"] = calls;
  const taken = await decideApproval(database, { sessionId, callId, body: decide(decision, rest) });
  return { sessionId, callId, grantId: taken.grantId as GrantId };
}

const active = async (database: Database, sessionId: string, project: string | null = null, tool = "bash") =>
  (await activeGrants(database, { sessionId, project, tool })).map(({ id }) => id);

describe("a decision is remembered", () => {
  test("for its session alone", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const { sessionId, callId, grantId } = await remembered(database, "approve", { scope: "session", reason: "fine" });

    expect(await activeGrants(database, { sessionId, project: null, tool: "bash" })).toMatchObject([
      { id: grantId, action: "allow", match: null, argumentsHash: ARGUMENTS_HASH, callId, reason: "fine" },
    ]);
    expect(await active(database, "ses_other")).toEqual([]);
  });

  test("for sessions of the same project", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const wanted = { metadata: { project: "web" } };
    const { grantId } = await remembered(database, "approve", { scope: "project" }, wanted);

    expect(await active(database, "ses_other", "web")).toEqual([grantId]);
    expect(await active(database, "ses_other", "api")).toEqual([]);
    expect(await active(database, "ses_other")).toEqual([]);
  });

  test("everywhere, denials before all else", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const denied = await remembered(database, "deny", { scope: "always", match: { command: "rm *" } });
    const allowed = await remembered(database, "approve", { scope: "always" });

    expect(await active(database, "ses_other")).toEqual([denied.grantId, allowed.grantId]);
  });

  test("with edited arguments for those", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const edited = { command: "ls" };
    const { sessionId } = await remembered(database, "approve", { scope: "always", arguments: edited });

    expect(await activeGrants(database, { sessionId, project: null, tool: "bash" })).toMatchObject([
      { argumentsHash: contentHash(edited) },
    ]);
  });

  test("with patterns for whatever they match, and no hash", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const match = { command: "rm -r build*" };
    const { sessionId } = await remembered(database, "approve", { scope: "always", match });

    expect(await activeGrants(database, { sessionId, project: null, tool: "bash" })).toMatchObject([
      { match, argumentsHash: null },
    ]);
  });
});

describe("a decision is not remembered", () => {
  test("with scope once", async () => {
    await using store = await temporaryStore();

    expect((await remembered(store.database, "approve", {})).grantId).toBeUndefined();
    expect(await listGrants(store.database, { revoked: false, limit: 9 })).toEqual([]);
  });

  test.each([
    ["for a project that the session does not name", { scope: "project" as const }, "/scope"],
    ["as patterns with scope once", { match: { command: "*" } }, "/match"],
  ])("%s, and then nothing is decided", async (_what, rest, path) => {
    await using store = await temporaryStore();
    const { database } = store;

    await expect(remembered(database, "approve", rest)).rejects.toMatchObject({
      code: "INVALID_INPUT",
      errors: [{ path }],
    });

    expect(await database.read.selectFrom("waits").select("state").execute()).toEqual([{ state: "pending" }]);
    expect(await listGrants(database, { revoked: false, limit: 9 })).toEqual([]);
  });

  test("for a project that a prototype names", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const wanted = { metadata: { team: "project" } };

    await expect(remembered(database, "approve", { scope: "project" }, wanted)).rejects.toMatchObject({
      code: "INVALID_INPUT",
    });
  });
});

test.each(["constructor", "__proto__", "toString", "hasOwnProperty"])(
  "a tool named %s is approved by nothing",
  async (tool) => {
    await using store = await temporaryStore();
    const { database } = store;
    const { sessionId } = await remembered(database, "approve", { scope: "always" });

    expect(await active(database, sessionId, tool, tool)).toEqual([]);
  },
);

test("the same decision again is the same grant, so that revoking it once is enough", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const first = await remembered(database, "approve", { scope: "always" });
  const second = await remembered(database, "approve", { scope: "always" });

  expect(second.grantId).toBe(first.grantId);
  expect(await revokeGrant(database, first.grantId)).toBe(true);
  expect(await active(database, first.sessionId)).toEqual([]);
});

test("the opposite decision on the same calls takes the place of the first", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const denied = await remembered(database, "deny", { scope: "always" });
  const allowed = await remembered(database, "approve", { scope: "always" });

  expect(await active(database, "ses_other")).toEqual([allowed.grantId]);
  expect(await listGrants(database, { revoked: true, limit: 9 })).toMatchObject([{ id: denied.grantId }]);
});

test("a grant is revoked once, stays listed as that, and one that is not there is not", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const { grantId } = await remembered(database, "approve", { scope: "session" });
  await revokeGrant(database, grantId);
  const [revoked] = await listGrants(database, { revoked: true, limit: 9 });

  expect(await revokeGrant(database, grantId)).toBe(true);
  expect(await listGrants(database, { revoked: true, limit: 9 })).toEqual([revoked]);
  expect(await revokeGrant(database, "grant_none")).toBe(false);
});
