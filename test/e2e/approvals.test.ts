/** People in the loop: what asks waits, durably; what is decided happens, once and as it was decided. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AgentInput } from "../../contract/agents.ts";
import type { Progress } from "../../contract/session.ts";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const asking: AgentInput = {
  policy: { default: "allow", rules: [{ tool: "bash", action: "ask", reason: "look first" }] },
};
const bash = (command: string) => ({ name: "bash", args: { command } });

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}
const decide = (session: SessionClient, callId: string, body: object): Promise<Answer> =>
  world.request("POST", `/v1/sessions/${session.id}/approvals/${callId}`, body);
const progressOf = async (session: SessionClient): Promise<Progress | null> =>
  (await world.request<{ progress: Progress | null }>("GET", `/v1/sessions/${session.id}`)).body.progress;

/** A file outside of the sandbox, to which a command can add lines. */
function effects(name: string): { readonly file: string; lines(): readonly string[] } {
  const file = path.join(world.folder, name);
  return { file, lines: () => (existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : []) };
}

test("a call that asks waits where everybody sees it, runs when it is approved, and the turn goes on", async () => {
  const session = await world.createSession({ agent: asking });
  const stream = session.stream();
  await session.post(scripted({ tools: [bash("echo approved")] }, { text: "done" }));
  const asked = await stream.next("approval.requested");

  await waitFor("the workflow waits", async () => (await progressOf(session))?.status === "waiting");
  expect(await progressOf(session)).toMatchObject({
    waits: [{ kind: "approval", callId: asked.callId, name: "bash" }],
  });
  const inbox = await world.request<{ approvals: object[] }>(
    "GET",
    `/v1/approvals?status=pending&sessionId=${session.id}`,
  );
  expect(inbox.body.approvals).toMatchObject([{ callId: asked.callId, arguments: { command: "echo approved" } }]);
  const client = await world.temporal();
  await waitFor("Temporal finds it", async () => {
    const query = `PerdureStatus = 'waiting' and PerdureWaitingFor = 'approval' and WorkflowId = '${session.id}'`;
    return (await client.workflow.count(query)).count === 1;
  });
  expect(asked).toMatchObject({
    reason: expect.stringContaining("look first"),
    arguments: { command: "echo approved" },
  });

  expect(await decide(session, asked.callId, { decision: "approve" })).toMatchObject({ status: 200 });
  await stream.next("turn.completed");

  const types = stream.events().map(({ type }) => type);
  expect(types.indexOf("approval.decided")).toBeLessThan(types.indexOf("tool.started"));
  expect(stream.ofType("tool.completed")).toMatchObject([
    { outcome: "ok", result: expect.stringContaining("approved") },
  ]);
  expect(await progressOf(session)).toMatchObject({ status: "idle", waits: [], waitingFor: null });
});

test("a denied call never reaches the sandbox, the model is told why, and the turn still completes", async () => {
  const { file, lines } = effects("denied");
  const session = await world.createSession({ agent: asking });
  const stream = session.stream();
  await session.post(scripted({ tools: [bash(`echo ran >> ${file}`)] }, { text: "left it alone" }));
  const { callId } = await stream.next("approval.requested");

  await decide(session, callId, { decision: "deny", reason: "not on a Saturday" });
  await stream.next("turn.completed");

  expect(lines()).toEqual([]);
  expect(stream.ofType("tool.started")).toEqual([]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "denied" }]);
  expect(world.lastModelCall()).toContain("not on a Saturday");
});

test("the first decision stands: a second one is told which, whatever it says and however late", async () => {
  const { file, lines } = effects("first");
  const session = await world.createSession({ agent: asking });
  const stream = session.stream();
  await session.post(scripted({ tools: [bash(`echo ran >> ${file}`)] }, { text: "done" }));
  const { callId, argumentsHash } = await stream.next("approval.requested");

  const wrong = await decide(session, callId, { decision: "approve", argumentsHash: "0".repeat(64) });
  const answers = await Promise.all([
    decide(session, callId, { decision: "approve", argumentsHash }),
    decide(session, callId, { decision: "approve" }),
    decide(session, callId, { decision: "approve", arguments: { command: `echo other >> ${file}` } }),
  ]);
  await stream.next("turn.completed");
  const late = await decide(session, callId, { decision: "deny" });

  expect(wrong).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
  expect(late).toMatchObject({ status: 409, body: { code: "ALREADY_DECIDED", first: { decision: "approve" } } });
  expect(lines()).toHaveLength(1);
});

test("parallel asks are decided in any order, and each does what was decided of it", async () => {
  const { file, lines } = effects("parallel");
  const session = await world.createSession({ agent: asking });
  const stream = session.stream();
  const names = ["a", "b", "c", "d"];
  await session.post(scripted({ tools: names.map((name) => bash(`echo ${name} >> ${file}`)) }, { text: "done" }));
  const asked = await stream.until("all have asked", () => {
    const all = stream.ofType("approval.requested");
    return all.length === names.length && all;
  });
  const [a, b, c, d] = asked.map(({ callId }) => callId);

  await decide(session, d ?? "", { decision: "approve" });
  await stream.next("tool.completed", ({ callId }) => callId === d);
  await decide(session, b ?? "", { decision: "deny" });
  await decide(session, a ?? "", { decision: "approve" });
  await decide(session, c ?? "", { decision: "approve", arguments: { command: `echo edited >> ${file}` } });
  await stream.next("turn.completed");

  expect([...lines()].sort()).toEqual(["a", "d", "edited"]);
  expect(world.lastModelCall()).toContain("A person changed the arguments");
});

test("edited arguments must fit the tool, and a call of another session is not there", async () => {
  const session = await world.createSession({ agent: asking });
  const other = await world.createSession({ agent: asking });
  const stream = session.stream();
  await session.post(scripted({ tools: [bash("true")] }, { text: "done" }));
  const { callId } = await stream.next("approval.requested");

  const broken = await decide(session, callId, { decision: "approve", arguments: { command: 7, cmd: "x" } });
  const elsewhere = await decide(other, callId, { decision: "approve" });
  const unknown = await decide(session, "call_never", { decision: "approve" });

  expect(broken).toMatchObject({ status: 400, body: { code: "INVALID_INPUT" } });
  expect(JSON.stringify(broken.body)).toContain("/arguments/command");
  expect([elsewhere.status, unknown.status]).toEqual([404, 404]);
  await session.interrupt();
  expect(await stream.next("approval.decided")).toMatchObject({ decision: "deny", by: "stop" });
  expect((await decide(session, callId, { decision: "approve" })).status).toBe(409);
});

test("nobody's word by the deadline is a denial", async () => {
  const { file, lines } = effects("deadline");
  const agent = { ...asking, limits: { approvalTimeoutMs: 300 } };
  const session = await world.createSession({ agent });
  const stream = session.stream();

  await session.post(scripted({ tools: [bash(`echo ran >> ${file}`)] }, { text: "done" }));
  await stream.next("turn.completed");

  expect(stream.ofType("approval.decided")).toMatchObject([{ decision: "deny", by: "deadline" }]);
  expect(lines()).toEqual([]);
});

test("a remembered approval covers the same call again, and no other", async () => {
  const session = await world.createSession({ agent: asking });
  const stream = session.stream();
  const steps = [{ tools: [bash("echo same")] }, { tools: [bash("echo same")] }, { tools: [bash("echo other")] }];
  await session.post(scripted(...steps, { text: "done" }));
  const first = await stream.next("approval.requested");
  await decide(session, first.callId, { decision: "approve", scope: "session" });

  const second = await stream.next("approval.requested", ({ callId }) => callId !== first.callId);
  const decided = stream.ofType("approval.decided");

  expect(second.arguments).toEqual({ command: "echo other" });
  expect(decided).toMatchObject([{ by: "person", scope: "session" }, { by: "grant" }]);
  const { grantId } = decided[1] ?? {};
  expect((await world.request("DELETE", `/v1/grants/${grantId}`)).status).toBe(204);
  await session.interrupt();
});

test("where nobody can be asked, what would ask is denied at once", async () => {
  const session = await world.createSession({ agent: { ...asking, approver: "none" } });
  const stream = session.stream();

  await session.post(scripted({ tools: [bash("true")] }, { text: "done" }));
  await stream.next("turn.completed");

  expect(stream.ofType("approval.requested")).toEqual([]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "denied" }]);
});

test("an approval waits through the death of every process, and what is approved runs once", async () => {
  const { file, lines } = effects("killed");
  const session = await world.createSession({ agent: asking });
  const stream = session.stream();
  await session.post(scripted({ tools: [bash(`echo ran >> ${file}`)] }, { text: "done" }));
  const { callId } = await stream.next("approval.requested");

  for (const name of ["worker", "api", "temporal"] as const) {
    const since = world.stackEvents.length;
    world.kill(name);
    await world.untilReady(name, since);
  }
  await waitFor("the decision is taken", async () => {
    const { status } = await decide(session, callId, { decision: "approve" }).catch(() => ({ status: 0 }));
    return status === 200 || status === 409;
  });
  world.kill("worker");
  await stream.next("turn.completed");

  expect(lines()).toEqual(["ran"]);
});

test("a decision that was taken while no worker runs is not lost", async () => {
  const session = await world.createSession({ agent: asking });
  const stream = session.stream();
  await session.post(scripted({ tools: [bash("echo later")] }, { text: "done" }));
  const { callId } = await stream.next("approval.requested");

  const since = world.stackEvents.length;
  world.kill("worker");
  expect((await decide(session, callId, { decision: "approve" })).status).toBe(200);
  world.kill("api");
  await world.untilReady("worker", since);

  expect(await stream.next("turn.completed")).toMatchObject({ output: "done" });
});
