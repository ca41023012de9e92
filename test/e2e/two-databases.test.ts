/** The store and Temporal's database do not agree: one was lost, or is older. Rows are the truth, and every session goes on. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AgentInput } from "../../contract/agents.ts";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

type DatabaseName = "temporal" | "perdure";
const DEADLINE_MS = 90_000;

const asking: AgentInput = { policy: { default: "allow", rules: [{ tool: "bash", action: "ask", reason: "look" }] } };
const bash = (command: string) => ({ name: "bash", args: { command } });
const typesOf = async (session: SessionClient): Promise<readonly string[]> =>
  (await session.log()).map(({ type }) => type);
const has = (session: SessionClient, type: string) => async (): Promise<boolean> =>
  (await typesOf(session)).includes(type);
const count = async (session: SessionClient, type: string): Promise<number> =>
  (await typesOf(session)).filter((each) => each === type).length;

const filesOf = (name: DatabaseName): readonly string[] =>
  readdirSync(world.stateDir).filter((file) => file === `${name}.db` || file.startsWith(`${name}.db-`));

/** While nothing runs. */
function copy(name: DatabaseName): string {
  const to = path.join(world.folder, `copy-of-${name}-${Math.random().toString(36).slice(2)}`);
  mkdirSync(to);
  for (const file of filesOf(name)) cpSync(path.join(world.stateDir, file), path.join(to, file));
  return to;
}

function restore(name: DatabaseName, from: string): void {
  for (const file of filesOf(name)) rmSync(path.join(world.stateDir, file));
  cpSync(from, world.stateDir, { recursive: true });
}

function loseTemporal(): void {
  for (const file of [...filesOf("temporal"), "temporal.db.ok"])
    rmSync(path.join(world.stateDir, file), { force: true });
}

interface AtWork {
  readonly idle: SessionClient;
  readonly speaking: SessionClient;
  readonly running: SessionClient;
  readonly waiting: SessionClient;
  readonly steered: SessionClient;
  /** What the running command writes. */
  readonly file: string;
}

const clientsOf = ({ idle, speaking, running, waiting, steered }: AtWork): readonly SessionClient[] => [
  idle,
  speaking,
  running,
  waiting,
  steered,
];

/** Each in the middle of something else. */
async function sessionsAtWork(): Promise<AtWork> {
  const file = path.join(world.folder, `effects-${Math.random().toString(36).slice(2)}`);
  const idle = await world.createSession();
  await idle.post(scripted({ text: "first" }));
  const speaking = await world.createSession();
  await speaking.post(scripted({ text: "a long reply that takes a while to be told", gapMs: 300 }));
  await speaking.post(scripted({ text: "queued" }));
  const running = await world.createSession();
  const command = `echo begun >> ${file}; sleep 6; echo ended >> ${file}`;
  await running.post(scripted({ tools: [bash(command)] }, { text: "over" }));
  const waiting = await world.createSession({ agent: asking });
  await waiting.post(scripted({ tools: [bash("echo allowed")] }, { text: "over" }));
  const steered = await world.createSession({ agent: asking });
  await steered.post(scripted({ tools: [bash("echo allowed")] }, { text: "over" }, { text: "and heard" }));
  await waitFor("idle", has(idle, "turn.completed"), DEADLINE_MS);
  await waitFor("it speaks", has(speaking, "block.delta"), DEADLINE_MS);
  await waitFor("it runs", () => existsSync(file), DEADLINE_MS);
  await waitFor("it waits", has(waiting, "approval.requested"), DEADLINE_MS);
  await waitFor("it waits, too", has(steered, "approval.requested"), DEADLINE_MS);
  await steered.post({ content: "by the way", mode: "steer" });
  return { idle, speaking, running, waiting, steered, file };
}

/** A repeat of the same approval is answered as the first one was. */
async function approve(session: SessionClient): Promise<number> {
  const asked = (await session.log()).find((event) => event.type === "approval.requested");
  if (asked?.type !== "approval.requested") throw new Error("nothing was asked");
  const route = `/v1/sessions/${session.id}/approvals/${asked.callId}`;
  return (await world.request("POST", route, { decision: "approve" })).status;
}

async function untilTurns(session: SessionClient, turns: number): Promise<void> {
  const hasAll = async (): Promise<boolean> => (await count(session, "turn.completed")) === turns;
  await waitFor(`${turns} turns of ${session.id} are completed`, hasAll, DEADLINE_MS).catch(async (error: unknown) => {
    throw new Error(`its log is ${(await typesOf(session)).join(" ")}`, { cause: error });
  });
}

async function expectAllGoOn(all: AtWork): Promise<void> {
  expect(await approve(all.waiting)).toBe(200);
  expect(await approve(all.steered)).toBe(200);
  await all.idle.post(scripted({ text: "second" }));
  await untilTurns(all.idle, 2);
  await untilTurns(all.speaking, 2);
  for (const session of [all.running, all.waiting, all.steered]) await untilTurns(session, 1);
  await expectNothingLost(all);
}

async function expectNothingLost(all: AtWork): Promise<void> {
  expect(readFileSync(all.file, "utf8").trim().split("\n")).toEqual(["begun", "ended"]);
  expect(await count(all.steered, "message.steered")).toBe(1);
  for (const session of clientsOf(all)) {
    expect(await typesOf(session)).not.toContain("turn.failed");
    expect(await typesOf(session)).not.toContain("session.closed");
  }
}

/** A further message to each is answered, as one to a session that nothing has happened to. */
async function expectAllAnswer(all: AtWork): Promise<void> {
  const before = new Map<SessionClient, number>();
  for (const session of clientsOf(all)) {
    before.set(session, await count(session, "turn.completed"));
    await session.post(scripted({ text: "once more" }));
  }
  for (const [session, turns] of before) await untilTurns(session, turns + 1);
}

test("Temporal's database is lost: every session goes on from its rows, and no command runs twice", async () => {
  const all = await sessionsAtWork();
  await world.stop("kill");
  loseTemporal();
  await world.start();
  await expectAllGoOn(all);
}, 240_000);

test("workflows were terminated: every session goes on from its rows", async () => {
  const all = await sessionsAtWork();
  const client = await world.temporal();
  for (const { id } of clientsOf(all)) await client.workflow.getHandle(id).terminate("a test");
  await expectAllGoOn(all);
}, 240_000);

test("Temporal's database is older: turns that are over are not run again, and each session takes its next message", async () => {
  const all = await sessionsAtWork();
  await world.stop("kill");
  const older = copy("temporal");
  await world.start();
  await expectAllGoOn(all);
  await world.stop("kill");
  restore("temporal", older);
  await world.start();
  await expectAllAnswer(all);
  await expectNothingLost(all);
}, 360_000);

test("the store is older: sessions are behind, as they were then, and go on from there", async () => {
  const all = await sessionsAtWork();
  await world.stop("kill");
  const older = copy("perdure");
  await world.start();
  await expectAllGoOn(all);
  await world.stop("kill");
  restore("perdure", older);
  await world.start();
  expect(await count(all.waiting, "turn.completed")).toBe(0);
  await expectAllGoOn(all);
  await expectAllAnswer(all);
  await expectNothingLost(all);
}, 360_000);

test("what was to stop, close or be deleted still does when its workflow is lost right after it was asked for", async () => {
  const sleeping = scripted({ tools: [bash("sleep 300")] }, { text: "over" });
  const [stopped, closed, deleted] = [
    await world.createSession(),
    await world.createSession(),
    await world.createSession(),
  ];
  for (const session of [stopped, closed, deleted]) {
    await session.post(sleeping);
    await waitFor("it runs", has(session, "tool.started"), DEADLINE_MS);
  }
  const worker = world.processes().find(({ name }) => name === "worker");
  if (!worker) throw new Error("no worker runs");
  process.kill(worker.pid, "SIGSTOP");
  await stopped.interrupt();
  await closed.close();
  const deleting = world.request("DELETE", `/v1/sessions/${deleted.id}`).catch(() => undefined);
  const isAsked = async (): Promise<boolean> =>
    (await world.request("POST", "/v1/sessions", { id: deleted.id })).status === 409;
  await waitFor("its deletion is noted", isAsked, DEADLINE_MS);
  await world.stop("kill");
  await deleting;
  loseTemporal();
  await world.start();

  await waitFor("it stops", has(stopped, "turn.interrupted"), DEADLINE_MS);
  await waitFor("it closes", has(closed, "session.closed"), DEADLINE_MS);
  const isGone = async (): Promise<boolean> =>
    (await world.request("GET", `/v1/sessions/${deleted.id}`)).status === 404;
  await waitFor("it is gone", isGone, DEADLINE_MS);
  await stopped.post(scripted({ text: "and on" }));
  await untilTurns(stopped, 1);
}, 240_000);
