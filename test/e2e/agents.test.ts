/** Stored agents, sessions that pin them, changes between turns, and a conversation that moves between backends. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Session } from "../../contract/session.ts";
import type { ScriptStep } from "../support/model-endpoint.ts";
import { type SessionClient, scripted, startWorld, type World } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const bash = (command: string) => ({ tools: [{ name: "bash", args: { command } }] });
const put = (id: string, agent: object) => world.request<{ version: number }>("PUT", `/v1/agents/${id}`, agent);
const patch = (session: SessionClient, change: object) =>
  world.request<Session & { applied: boolean }>("PATCH", `/v1/sessions/${session.id}`, change);
const lastRequest = (): string => world.lastModelCall();

async function say(session: SessionClient, ...steps: readonly ScriptStep[]): Promise<string> {
  const stream = session.stream();
  const { turnId } = await session.post(scripted(...steps));
  return (await stream.next("turn.completed", (event) => event.turnId === turnId)).output;
}

test("a session keeps the version that it was made with, until it is moved on purpose", async () => {
  await put("keeper", { name: "Keeper", instructions: "first instructions" });
  const session = await world.createSession({ agent: "keeper" });
  expect((await put("keeper", { name: "Keeper", instructions: "second instructions" })).body.version).toBe(2);

  await say(session, { text: "one" });
  expect(lastRequest()).toContain("first instructions");
  const moved = await patch(session, { agent: { id: "keeper", version: 2 } });
  await say(session, { text: "two" });

  expect(moved).toMatchObject({ status: 200, body: { applied: true, agentRef: { id: "keeper", version: 2 } } });
  expect(lastRequest()).toContain("second instructions");
});

test("a stored agent that says nothing of a policy asks before it changes the world, and reads without asking", async () => {
  await put("silent", { name: "Silent" });
  const session = await world.createSession({ agent: "silent" });
  const stream = session.stream();

  await session.post(scripted({ tools: [{ name: "list_files", args: {} }] }, bash("true"), { text: "done" }));
  const asked = await stream.next("approval.requested");

  expect(asked.name).toBe("bash");
  expect(stream.ofType("tool.completed")).toMatchObject([{ name: "list_files", outcome: "ok" }]);
  await session.interrupt();
});

test("a change in mid-turn waits for the turn's end, and its limits hold from the next turn on", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted(bash("echo begun; until [ -e go ]; do sleep 0.02; done"), { text: "done" }));
  await stream.next("tool.output");

  const changed = await patch(session, { overrides: { instructions: "be new", limits: { stepsPerTurn: 1 } } });
  await world.fetch(`${world.url}/v1/sessions/${session.id}/files/go`, { method: "PUT", body: "now" });
  await stream.next("turn.completed");
  await stream.next("session.updated");
  await session.post(scripted(bash("true"), { text: "too far" }));
  const failed = await stream.next("turn.failed");

  expect(changed.body.applied).toBe(false);
  expect(failed).toMatchObject({ code: "LIMIT_EXCEEDED" });
  expect(lastRequest()).toContain("be new");
});

test("an agent's files and variables are there before its first command", async () => {
  await put("equipped", {
    name: "Equipped",
    policy: { default: "allow" },
    environment: { GREETING: "hello there" },
    files: [{ path: "docs/rules.txt", content: "be kind\n" }],
  });
  const session = await world.createSession({ agent: "equipped" });
  const stream = session.stream();

  await session.post(scripted(bash('echo "$GREETING"; cat docs/rules.txt'), { text: "done" }));
  await stream.next("turn.completed");

  const [done] = stream.ofType("tool.completed");
  expect(done?.result).toContain("hello there");
  expect(done?.result).toContain("be kind");
});

test("an agent hands over to another, which goes on in the same turn with its own instructions and tools", async () => {
  await put("expert", { name: "Expert", instructions: "I am the expert", tools: ["read_file"] });
  await put("desk", {
    name: "Desk",
    instructions: "I am the desk",
    handoffs: [{ agent: "expert", description: "Knows." }],
  });
  const session = await world.createSession({ agent: "desk" });
  const stream = session.stream();
  await put("expert", { name: "Expert", instructions: "I am another expert" });

  await session.post(
    scripted({ tools: [{ name: "transfer_to_expert", args: {} }] }, bash("true"), { text: "handled" }),
  );
  await stream.next("turn.completed");

  expect(lastRequest()).toContain("I am the expert");
  expect(stream.ofType("session.updated")).toMatchObject([{ agent: "Expert", agentRef: { id: "expert", version: 1 } }]);
  expect(stream.ofType("tool.completed")).toMatchObject([
    { name: "transfer_to_expert", outcome: "ok" },
    { name: "bash", outcome: "error", result: expect.stringContaining("There is no tool") },
  ]);
});
