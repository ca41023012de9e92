/** The progress stream: the workflow's snapshots, asked for once for all viewers. */
import { expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { closeSession } from "../../store/session-closing.ts";
import { ApiWorld, aDelta, until } from "../support/api-world.ts";

test("a viewer gets the snapshot, then every change, then the closed one", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  using stream = await world.stream(`/v1/sessions/${id}/progress`);
  await stream.frame(1);

  world.sessions.snapshot = { ...world.sessions.snapshot, turns: 1 };
  await world.append(id, { type: "step.started", turnId: "turn_t", step: 1 });
  const second = await stream.frame(2);
  await closeSession(world.store.database, id);
  await stream.ended;

  expect(second.data).toMatchObject({ status: "idle", turns: 1 });
  expect(stream.frames.at(-1)?.data).toMatchObject({ status: "closed", turns: 1 });
  expect(stream.frames).toHaveLength(3);
});

test("fifty viewers cost as many queries as one, and deltas cost none", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  const streams = await Promise.all(Array.from({ length: 50 }, () => world.stream(`/v1/sessions/${id}/progress`)));
  await Promise.all(streams.map((stream) => stream.frame(1)));
  // The echoes of the first question end by themselves.
  await until(() => world.sessions.count("progress") >= 4);
  const before = world.sessions.count("progress");

  // For longer than several questions lie apart.
  const end = Date.now() + 8 * LIMITS.progressEveryMs;
  using events = await world.stream(`/v1/sessions/${id}/events?after=1`);
  for (let n = 1; Date.now() < end; n++) {
    await world.append(id, aDelta(n));
    await events.frame(n);
  }
  world.sessions.snapshot = { ...world.sessions.snapshot, turns: 2 };
  await world.append(id, { type: "step.started", turnId: "turn_t", step: 1 });
  await Promise.all(streams.map((stream) => stream.frame(2)));

  expect(world.sessions.count("progress") - before).toBeLessThanOrEqual(3);
  for (const stream of streams) stream[Symbol.dispose]();
});

test("a change that the workflow hears of after the log is seen without another event", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  using stream = await world.stream(`/v1/sessions/${id}/progress`);
  await stream.frame(1);

  await world.append(id, { type: "step.started", turnId: "turn_t", step: 1 });
  await until(() => world.sessions.count("progress") >= 2);
  world.sessions.snapshot = { ...world.sessions.snapshot, turns: 3 };

  expect((await stream.frame(2)).data).toMatchObject({ turns: 3 });
});

test("while no worker answers, a comment says so, and the snapshot comes when one does", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  world.sessions.fail("unanswered", "progress");
  using stream = await world.stream(`/v1/sessions/${id}/progress`);
  await until(() => stream.comments.join().includes("trying again"));

  world.sessions.recover();

  expect((await stream.frame(1)).data).toMatchObject({ status: "idle" });
});

test("of a closed session there is one last snapshot, or words when nobody knows it any more", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  await closeSession(world.store.database, id);

  using known = await world.stream(`/v1/sessions/${id}/progress`);
  await known.ended;
  world.sessions.fail("missing", "progress");
  using unknown = await world.stream(`/v1/sessions/${id}/progress`);
  await unknown.ended;

  expect(known.frames.map((frame) => frame.data["status"])).toEqual(["closed"]);
  expect(unknown.frames).toEqual([]);
  expect(unknown.comments.join()).toContain("does not answer");
});

test("when the last viewer leaves, nobody is asked any more", async () => {
  await using world = await ApiWorld.start();
  const id = await world.createSession();
  const stream = await world.stream(`/v1/sessions/${id}/progress`);
  await stream.frame(1);

  stream[Symbol.dispose]();
  await until(async () => (await (await fetch(`${world.url}/metrics`)).text()).includes(`{kind="progress"} 0`));
  const before = world.sessions.count("progress");
  await world.append(id, { type: "step.started", turnId: "turn_t", step: 1 });
  using other = await world.stream(`/v1/sessions/${id}/events?after=1`);
  await other.frame(1);

  expect(world.sessions.count("progress")).toBe(before);
});

test("the progress of a session that is not there is a 404", async () => {
  await using world = await ApiWorld.start();

  expect(await world.call("GET /v1/sessions/nobody/progress")).toMatchObject({ status: 404 });
});
