/** A session's sandbox through its life: idle, stopped, woken, lost, on another host; and what a client and the model are told of it. */
import { existsSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EventType, SessionEventOf } from "../../contract/events.ts";
import type { SandboxList, SessionSandbox } from "../../contract/http.ts";
import { openDatabase } from "../../store/database.ts";
import { installationId } from "../../store/installation.ts";
import { sweepId } from "../../workers/sweeps.ts";
import type { EventReader } from "../support/event-reader.ts";
import { type SecondWorker, startSecondWorker } from "../support/second-worker.ts";
import { processesOf } from "../support/stray-processes.ts";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld({ env: { PERDURE_SANDBOX: "local", PERDURE_HOST_ID: "first" } });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const bash = (command: string) => scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "done" });
const sandboxOf = async (session: SessionClient): Promise<SessionSandbox> =>
  (await world.request<SessionSandbox>("GET", `/v1/sessions/${session.id}/sandbox`)).body;
/** Its name ends with what tells the session from an earlier one of the same id. */
function folderOf(session: SessionClient, generation: number): string {
  const root = path.join(world.stateDir, "sandboxes");
  const name = `sbx_${session.id}-${generation}`;
  return path.join(root, readdirSync(root).find((one) => one.startsWith(`${name}-`)) ?? name);
}

/** The n-th event of that type, counted from 1. */
function nth<Type extends EventType>(stream: EventReader, type: Type, n: number): Promise<SessionEventOf<Type>> {
  return stream.until(`${type} comes for the ${n}. time`, () => stream.ofType(type)[n - 1], 60_000);
}

test("what a worker says of its providers is served, with the reason of those that cannot be used", async () => {
  await waitFor("a worker announces itself", async () => {
    const { body } = await world.request<SandboxList>("GET", "/v1/sandboxes");
    return body.providers.length > 0;
  });

  const { body } = await world.request<SandboxList>("GET", "/v1/sandboxes");

  const local = body.providers.find(({ name }) => name === "local");
  expect(local).toMatchObject({ host: "first", available: true, isDefault: true, capabilities: { isolation: "none" } });
  expect(body.providers.find(({ name }) => name === "modal")).toMatchObject({
    available: false,
    reason: expect.stringContaining("MODAL_TOKEN_ID"),
  });
});

test("a sandbox that nobody can make is refused when it is asked for, in words", async () => {
  const refused = await world.request("POST", "/v1/sessions", { sandbox: "modal" });
  const meaningless = await world.request("POST", "/v1/sessions", { sandbox: { network: { allow: ["example.com"] } } });
  const strange = await world.request("POST", "/v1/sessions", { sandbox: { provider: "cloud" } });

  expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/sandbox/provider" }] } });
  expect(meaningless).toMatchObject({ status: 400, body: { errors: [{ path: "/sandbox/network" }] } });
  expect(strange.status).toBe(400);
});

test("an idle sandbox is stopped with its workspace kept, and is as it was when it is needed again", async () => {
  const session = await world.createSession({ sandbox: { idleTimeoutMs: 1_000, environment: { COLOUR: "blue" } } });
  const stream = session.stream();
  await session.post(
    bash('mkdir -p a && echo "$COLOUR" > a/kept.txt && ln -s kept.txt a/link && chmod 700 a/kept.txt'),
  );
  await stream.next("turn.completed");

  const stopped = await stream.next("sandbox.stopped");

  expect(stopped).toMatchObject({ reason: "idle", generation: 1 });
  await waitFor("it is removed", () => !existsSync(folderOf(session, 1)));
  expect(await sandboxOf(session)).toMatchObject({ sandbox: { state: "idle" }, snapshots: [{ files: 2 }] });
  await session.post(bash("cat a/link; stat -c %a a/kept.txt"));
  const again = await nth(stream, "tool.completed", 2);
  expect(again.result).toContain("blue\n700");
  expect(stream.ofType("sandbox.lost")).toEqual([]);
  expect(await sandboxOf(session)).toMatchObject({ sandbox: { generation: 2, state: "ready" } });
});

test("a sandbox that is lost in mid-command: the call is unknown, the model hears of it, the workspace is as it was kept", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(bash("echo kept > kept.txt"));
  await stream.next("turn.completed");
  await stream.next("sandbox.snapshotted");
  await session.post(
    scripted(
      { tools: [{ name: "bash", args: { command: "echo once >> ../../effects; echo begun; sleep 400" } }] },
      { tools: [{ name: "bash", args: { command: "cat kept.txt" } }] },
      { text: "done" },
    ),
  );
  await stream.next("tool.output", ({ text }) => text.includes("begun"));

  rmSync(folderOf(session, 1), { recursive: true, force: true });
  const unknown = await nth(stream, "tool.completed", 2);
  await nth(stream, "turn.completed", 2);

  expect(unknown).toMatchObject({ outcome: "unknown", result: expect.stringContaining("[The sandbox was lost.") });
  expect(unknown.result).toContain("was not run again");
  expect(stream.ofType("sandbox.replaced")).toMatchObject([
    { generation: 2, restoredFrom: { turnId: expect.any(String) } },
  ]);
  expect(stream.ofType("tool.completed").at(-1)?.result.trim()).toBe("kept");
  expect(world.lastModelCall()).toContain("The sandbox was lost");
  for (const pid of processesOf("sleep 400")) process.kill(pid, "SIGKILL");
});

test("what a caller has written outlives the sandbox, too", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  const file = `${world.url}/v1/sessions/${session.id}/files/data/in.txt`;
  await world.fetch(file, { method: "PUT", body: "by hand" });
  await stream.next("sandbox.snapshotted");
  await world.request("POST", `/v1/sessions/${session.id}/commands?wait=30s`, { command: "echo more >> data/in.txt" });
  await nth(stream, "sandbox.snapshotted", 2);

  rmSync(folderOf(session, 1), { recursive: true, force: true });

  expect(await (await world.fetch(file)).text()).toBe("by handmore\n");
  expect(stream.ofType("sandbox.replaced")).toMatchObject([{ generation: 2 }]);
});

test("the schedule of the sweeper is there, and a sweep says what it did", async () => {
  const client = await world.temporal();
  const schedule = client.schedule.getHandle(sweepId(await stackId()));

  await schedule.trigger();

  const { workflowId } = await untilSome(
    async () => (await schedule.describe()).info.recentActions.at(-1)?.action.workflow,
  );
  expect(await client.workflow.getHandle(workflowId).result()).toEqual({ removed: 0, stopped: 0, ids: [] });
});

test("workers of two hosts share the sessions: what touches a sandbox is done where it is", async () => {
  await using other = await aWorkerElsewhere("second");
  const sessions = await Promise.all(Array.from({ length: 12 }, () => world.createSession()));

  const results = await Promise.all(
    sessions.map(async (session, i) => {
      const stream = session.stream();
      for (const [n, text] of [`echo one-${i} > f`, "echo two >> f", "cat f"].entries()) {
        await session.post(bash(text));
        await nth(stream, "turn.completed", n + 1);
      }
      return {
        results: stream.ofType("tool.completed").map(({ result }) => result.trim()),
        lost: stream.ofType("sandbox.lost"),
      };
    }),
  );

  for (const [
    i,
    {
      results: [, , last],
      lost,
    },
  ] of results.entries()) {
    expect(last).toBe(`one-${i}\ntwo`);
    expect(lost).toEqual([]);
  }
  const hosts = await Promise.all(sessions.map(async (session) => (await sandboxOf(session)).sandbox?.host));
  expect(new Set(hosts)).toEqual(new Set(["first", "second"]));

  // The second host dies; once it has been silent for long enough, its sessions go on at the first.
  await other.kill();
  const moved = sessions[hosts.indexOf("second")];
  if (!moved) throw new Error("no session was on the second host");
  await silence("second");
  const stream = moved.stream();
  await moved.post(bash("cat f"));
  await stream.next("sandbox.replaced", () => true, 90_000);
  await nth(stream, "turn.completed", 4);
  expect(stream.ofType("tool.completed").at(-1)?.result).toContain("two");
}, 150_000);

/** A second worker of the same store and Temporal, on a host of another name. */
function aWorkerElsewhere(hostId: string): Promise<SecondWorker> {
  return startSecondWorker(world, { PERDURE_HOST_ID: hostId });
}

async function untilSome<T>(look: () => Promise<T | undefined>): Promise<T> {
  let found: T | undefined;
  await waitFor("there is something", async () => {
    found = await look();
    return found !== undefined;
  });
  return found as T;
}

/** As if its minute had passed. What waits in its queue does not know, and takes the rest of the minute. */
async function silence(host: string): Promise<void> {
  const database = await openDatabase(path.join(world.stateDir, "perdure.db"));
  await database.write((tx) => tx.updateTable("hosts").set({ seen_at: 1 }).where("host", "=", host).execute());
  await database.close();
}

async function stackId(): Promise<string> {
  const database = await openDatabase(path.join(world.stateDir, "perdure.db"));
  const id = await installationId(database);
  await database.close();
  return id;
}
