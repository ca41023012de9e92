/** Calls that ask a person: what is remembered decides first, in its scope and for its arguments, and else they wait. */
import { describe, expect, test } from "vitest";
import { gateCall } from "../../activities/gated-calls.ts";
import { Agent, type AgentInput, ClientTool } from "../../contract/agents.ts";
import type { ToolCallBlock } from "../../contract/blocks.ts";
import { type GrantId, newId } from "../../contract/ids.ts";
import { contentHash } from "../../store/content-hash.ts";
import type { Database } from "../../store/database.ts";
import { makeGrant, type NewGrant, revokeGrant } from "../../store/grants.ts";
import { temporaryStore } from "../store/store-builder.ts";
import { aGatekeeper } from "./gatekeeper-builder.ts";

const ASKING: AgentInput = { policy: { default: "ask", rules: [] } };
const SESSION = "ses_gate";

const call = (name: string, args: ToolCallBlock["arguments"] = {}): ToolCallBlock => ({
  type: "tool_call",
  callId: newId("call"),
  name,
  arguments: args,
});
const bash = (command: string): ToolCallBlock => call("bash", { command });

interface Wanted {
  readonly agent?: AgentInput;
  readonly clientTools?: readonly object[];
  readonly project?: string;
}

function keeper(database: Database, { agent = ASKING, clientTools = [], project }: Wanted = {}) {
  return aGatekeeper({
    database,
    agent: Agent.parse(agent),
    clientTools: clientTools.map((tool) => ClientTool.parse(tool)),
    sessionId: SESSION,
    ...(project !== undefined && { project }),
  });
}

const gate = (database: Database, block: ToolCallBlock, wanted: Wanted = {}) =>
  gateCall(keeper(database, wanted), { block, before: [] });

const grant = (database: Database, rest: Partial<NewGrant> = {}): Promise<GrantId> =>
  database.write((tx) =>
    makeGrant(tx, {
      scope: "session",
      sessionId: SESSION,
      project: null,
      tool: "bash",
      action: "allow",
      match: null,
      argumentsHash: contentHash({ command: "ls" }),
      reason: null,
      callId: "call_before",
      ...rest,
    }),
  );
const matching = (command: string) => ({ match: { command }, argumentsHash: null });

/** What became of a call, in one word. */
const fateOf = async (database: Database, block: ToolCallBlock, wanted: Wanted = {}): Promise<string> => {
  const { made } = await gate(database, block, wanted);
  return made.decided?.decision ?? made.answer?.outcome ?? made.wait?.request.kind ?? "runs";
};

describe("a call that asks", () => {
  test("waits with all that who decides has to know, until the agent's own deadline", async () => {
    await using store = await temporaryStore();
    const agent: AgentInput = {
      policy: { rules: [{ tool: "bash", action: "ask", reason: "look first" }] },
      limits: { approvalTimeoutMs: 90_000 },
    };

    const { made, planned } = await gate(store.database, bash("make x"), { agent });

    expect(made.wait?.request).toMatchObject({
      kind: "approval",
      reason: expect.stringContaining("look first"),
      schema: { type: "object", properties: { command: { type: "string" } } },
      argumentKinds: { command: "command" },
      changesWorld: true,
    });
    expect(made.wait?.request).not.toHaveProperty("tool");
    expect((made.wait?.deadline ?? 0) - Date.now()).toBeGreaterThan(80_000);
    expect((made.wait?.deadline ?? 0) - Date.now()).toBeLessThanOrEqual(90_000);
    expect(planned).toMatchObject({ wait: { kind: "approval", deadline: made.wait?.deadline } });
  });

  test("names the characters in its arguments that do not show, and leaves the arguments as they are", async () => {
    await using store = await temporaryStore();
    const block = bash("ls \u202e'x\u200b' \u001b[1m \r\n");

    const { made } = await gate(store.database, block);

    const { request } = made.wait ?? {};
    expect(request).toMatchObject({
      reason: expect.stringMatching(
        /^the arguments hold characters that do not show, or show as others: U\+001B, U\+200B, U\+202E; /,
      ),
    });
    expect(request).toMatchObject({ reason: expect.not.stringMatching(/[\p{Cc}\p{Cf}]/u) });
    expect(made.block).toBe(block);
  });

  test("is never quick, however quick its tool: what is approved runs in an activity of its own", async () => {
    await using store = await temporaryStore();

    expect((await gate(store.database, call("read_file", { path: "a" }))).planned).toMatchObject({ quick: false });
  });

  test("for a tool of the caller's says what its approval opens", async () => {
    await using store = await temporaryStore();
    const clientTools = [{ name: "deploy", timeoutMs: 9_000, replay: "safe" }];

    const { made } = await gate(store.database, call("deploy"), { clientTools });

    expect(made.wait?.request).toMatchObject({ kind: "approval", tool: { timeoutMs: 9_000, replay: "safe" } });
  });

  test("where nobody can be asked is denied at once, with the reason", async () => {
    await using store = await temporaryStore();

    const { made, planned } = await gate(store.database, bash("ls"), { agent: { ...ASKING, approver: "none" } });

    expect(planned).toBeUndefined();
    expect(made.answer).toMatchObject({ outcome: "denied", text: expect.stringContaining("nobody can be asked") });
  });

  test("with arguments that do not fit asks nobody, whatever is remembered", async () => {
    await using store = await temporaryStore();
    await grant(store.database, matching("*"));

    expect(await fateOf(store.database, call("bash", { command: 7 }))).toBe("error");
  });
});

describe("a remembered decision", () => {
  test("of exactly these arguments runs the call, says so, and speaks of no other arguments", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const grantId = await grant(database, { reason: "seen" });

    const { made, planned } = await gate(database, bash("ls"));

    expect(made.decided).toEqual({
      decision: "approve",
      by: "grant",
      scope: "session",
      argumentsHash: contentHash({ command: "ls" }),
      grantId,
      reason: "seen",
    });
    expect(made).not.toHaveProperty("wait");
    expect(planned).toMatchObject({ name: "bash" });
    expect(planned).not.toHaveProperty("wait");
    expect(await fateOf(database, bash("ls "))).toBe("approval");
    expect(await fateOf(database, call("bash", { command: "ls", timeoutMs: 1_000 }))).toBe("approval");
  });

  test("that denies answers with its reason, and the call is not planned", async () => {
    await using store = await temporaryStore();
    await grant(store.database, { action: "deny", reason: "it never ends" });

    const { made, planned } = await gate(store.database, bash("ls"));

    expect(planned).toBeUndefined();
    expect(made.decided).toMatchObject({ decision: "deny", by: "grant" });
    expect(made.answer).toMatchObject({ outcome: "denied", text: expect.stringContaining("it never ends") });
  });

  test("by pattern must cover every command of a line to allow it, and one of them to deny it", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    await grant(database, matching("git *"));
    await grant(database, { action: "deny", ...matching("rm *") });

    expect(await fateOf(database, bash("git log && git status"))).toBe("approve");
    expect(await fateOf(database, bash("git log && make"))).toBe("approval");
    expect(await fateOf(database, bash("make && rm -r x"))).toBe("deny");
    expect(await fateOf(database, bash("git log; rm -r x"))).toBe("deny");
  });

  test("that denies stands before one that allows, whichever came last", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    await grant(database, { action: "deny", ...matching("ls *") });
    await grant(database, { scope: "always", sessionId: null, ...matching("*") });

    expect(await fateOf(database, bash("ls"))).toBe("deny");
    expect(await fateOf(database, bash("pwd"))).toBe("approve");
  });

  test("that is revoked decides nothing", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    await revokeGrant(database, await grant(database));

    expect(await fateOf(database, bash("ls"))).toBe("approval");
  });

  test("is not asked for what a rule denies, nor for what a rule allows", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    await grant(database);
    const by = (action: "allow" | "deny"): Wanted => ({ agent: { policy: { rules: [{ tool: "bash", action }] } } });

    expect(await fateOf(database, bash("ls"), by("deny"))).toBe("denied");
    expect(await fateOf(database, bash("ls"), by("allow"))).toBe("runs");
  });

  test("is good also where nobody can be asked", async () => {
    await using store = await temporaryStore();
    await grant(store.database);

    expect(await fateOf(store.database, bash("ls"), { agent: { ...ASKING, approver: "none" } })).toBe("approve");
  });

  test("lets a tool of the caller's be asked of the caller", async () => {
    await using store = await temporaryStore();
    await grant(store.database, { tool: "deploy", argumentsHash: contentHash({}) });

    const { made, planned } = await gate(store.database, call("deploy"), { clientTools: [{ name: "deploy" }] });

    expect(made).toMatchObject({ decided: { by: "grant" }, wait: { request: { kind: "tool" } } });
    expect(planned).toMatchObject({ wait: { kind: "tool" } });
  });
});

test.for([
  ["of another session", { sessionId: "ses_other" }, {}],
  ["of another tool", { tool: "write_file" }, {}],
  ["of a tool whose name only looks alike", { tool: "BASH" }, {}],
  ["of a tool whose name is a pattern", { tool: "*" }, {}],
  ["of a tool named constructor", { tool: "constructor" }, {}],
  ["of another project", { scope: "project", sessionId: null, project: "web" }, { project: "api" }],
  ["of a project, in a session without one", { scope: "project", sessionId: null, project: "web" }, {}],
  ["of no project, in a session without one", { scope: "project", sessionId: null, project: null }, {}],
] as const)("what is remembered %s decides nothing", async ([, kept, wanted]) => {
  await using store = await temporaryStore();
  await grant(store.database, kept);

  expect(await fateOf(store.database, bash("ls"), wanted)).toBe("approval");
});

test.for([
  ["always", { scope: "always", sessionId: null }, {}],
  ["for a project, in a session of it", { scope: "project", sessionId: null, project: "web" }, { project: "web" }],
] as const)("what is remembered %s decides", async ([, kept, wanted]) => {
  await using store = await temporaryStore();
  await grant(store.database, kept);

  expect(await fateOf(store.database, bash("ls"), wanted)).toBe("approve");
});

test.for(["constructor", "__proto__", "toString"])(
  "a tool named %s is not approved by what no one approved",
  async (name) => {
    await using store = await temporaryStore();

    expect(await fateOf(store.database, call(name), { clientTools: [{ name }] })).toBe("approval");
  },
);
