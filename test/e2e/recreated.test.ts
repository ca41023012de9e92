/** Sessions that have the same id one after another, or at once in two stacks at one Temporal: none is in another's way. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

let world: World;
/** Another stack at the same Temporal. */
let guest: World;
beforeAll(async () => {
  world = await startWorld();
  guest = await startWorld({ temporalAddress: world.stack.temporalAddress });
});
afterAll(async () => {
  await guest?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

const bash = (command: string) => scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "done" });
const remove = async (session: SessionClient, from = world): Promise<number> =>
  (await from.request("DELETE", `/v1/sessions/${session.id}`)).status;

/** A whole turn, which finds a workspace that nobody has used. */
async function expectFresh(id: string, at = world): Promise<void> {
  const session = at.session(id);
  await session.post(bash("ls; echo here > left-over"));
  await using stream = session.stream();
  await stream.next("turn.completed");
  const log = await session.log();
  expect(log.slice(0, 2)).toMatchObject([
    { seq: 1, type: "session.created" },
    { seq: 2, type: "message.received" },
  ]);
  expect(log.filter(({ type }) => type === "turn.started")).toHaveLength(1);
  expect(log.find((event) => event.type === "tool.completed")).toMatchObject({ outcome: "ok" });
  expect(JSON.stringify(log.filter(({ type }) => type === "tool.output"))).not.toContain("left-over");
}

test.each<[string, string, (session: SessionClient) => Promise<unknown>]>([
  ["that has done nothing", "nothing", async () => undefined],
  ["that has ended a turn", "idle", async ({ id }) => await expectFresh(id)],
  [
    "whose command runs",
    "command",
    async (session) => {
      await session.post(bash("echo here > left-over; sleep 60"));
      await using stream = session.stream();
      await stream.next("tool.started");
    },
  ],
  [
    "that asks somebody",
    "asks",
    async (session) => {
      await session.post(scripted({ tools: [{ name: "ask_user", args: { question: "which?" } }] }, { text: "done" }));
      await using stream = session.stream();
      await stream.next("question.asked");
    },
  ],
])("a session %s is deleted, and another of the same id works", { timeout: 60_000 }, async (_what, id, work) => {
  const first = await world.createSession({ id });
  await work(first);

  expect(await remove(first)).toBe(204);
  const again = await world.request("POST", "/v1/sessions", { id });

  expect(again.status).toBe(201);
  await expectFresh(id);
  const client = await world.temporal();
  expect((await client.workflow.getHandle(id).describe()).status.name).toBe("RUNNING");
});

test("made and deleted over and over, also twice at once, each is the first of its id", {
  timeout: 60_000,
}, async () => {
  for (let round = 0; round < 4; round++) {
    const session = await world.createSession({ id: "often" });
    if (round % 2 === 0) await expectFresh("often");
    const removed = await Promise.all([remove(session), remove(session)]);
    expect(removed.filter((status) => status !== 404 && status !== 204)).toEqual([]);
  }
  await world.createSession({ id: "often" });

  await expectFresh("often");
});

test("ids that look like those of our own workflows are ids as all others", { timeout: 60_000 }, async () => {
  const victim = await world.createSession({ id: "v2" });
  for (const id of ["purge-v2", "keep-v2", "idle-v2", "perdure-sandbox-sweep"]) await world.createSession({ id });
  await expectFresh("v2");

  expect(await remove(victim)).toBe(204);
  await expectFresh("purge-v2");
});

test("two stacks at one Temporal have a session of the same id each, and both work and end alone", {
  timeout: 60_000,
}, async () => {
  await world.createSession({ id: "shared" });
  await guest.createSession({ id: "shared" });

  await Promise.all([expectFresh("shared", world), expectFresh("shared", guest)]);
  expect(await remove(guest.session("shared"), guest)).toBe(204);
  expect((await guest.request("GET", "/v1/sessions/shared")).status).toBe(404);

  await world.session("shared").post(scripted({ text: "still here" }));
  await waitFor("the other stack's session goes on", async () =>
    (await world.session("shared").log()).some(
      (event) => event.type === "turn.completed" && event.output === "still here",
    ),
  );
});

test("whoever can only start workflows deletes, closes and stops nothing", { timeout: 60_000 }, async () => {
  const session = await world.createSession({ id: "wanted" });
  await expectFresh("wanted");
  const client = await world.temporal();
  const { taskQueue } = await client.workflow.getHandle("wanted").describe();
  const key = { sessionId: "wanted" };
  const agent = { name: "x", limits: {}, hasTools: true };
  const attacks: [string, unknown][] = [
    ["purgeSession", key],
    ["idleSandbox", { ...key, idleMs: 0 }],
    ["keepWorkspace", key],
    ["workspaceRequest", { ...key, operation: "remove", path: "left-over", recursive: true }],
    ["sweepSandboxes", undefined],
  ];
  for (const [type, input] of attacks) {
    const workflowId = `attack-${type}`;
    const handle = await client.workflow.start(type, {
      taskQueue,
      workflowId,
      args: input === undefined ? [] : [input],
    });
    await handle.result().catch(() => undefined);
  }
  const stranger = await client.workflow.start("session", {
    taskQueue,
    workflowId: "attack-session",
    args: [{ ...key, agent, keepsWorkspace: true }],
  });
  await stranger.signal("closeSession");
  await stranger.result().catch(() => undefined);

  expect((await world.request<{ status: string }>("GET", "/v1/sessions/wanted")).body.status).toBe("idle");
  const file = await world.request("POST", "/v1/sessions/wanted/commands?wait=30s", { command: "cat left-over" });
  expect(file.body).toMatchObject({ outcome: "ok" });
  expect((await session.log()).filter(({ type }) => /^(sandbox\.stopped|session\.closed)$/.test(type))).toEqual([]);
});
