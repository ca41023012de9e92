/** kill -9 of each process at the worst moments: nothing is lost, nothing is repeated, and a client that comes back misses nothing. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { processesOf } from "../support/stray-processes.ts";
import { scripted, startWorld, type World, waitFor } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

/** A command that says in a file outside the sandbox that it has begun, and that it has ended. */
function counted(name: string, seconds: number): { file: string; command: string } {
  const file = path.join(world.folder, `effects-${name}`);
  const rounds = Math.round(seconds * 10);
  const command = `echo begun >> ${file}; i=0; while [ $i -lt ${rounds} ]; do echo line $i; i=$((i+1)); sleep 0.1; done; echo ended >> ${file}`;
  return { file, command };
}

const linesOf = (file: string): readonly string[] => readFileSync(file, "utf8").trim().split("\n");

test("a worker killed in mid-command is followed by one that re-attaches: the command runs once, no output is lost or doubled", async () => {
  const { file, command } = counted("worker", 2.5);
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "over" }));
  await stream.next("tool.output");

  const killedAt = Date.now();
  world.kill("worker");
  const next = await stream.until("an event comes after the kill", () =>
    stream.arrivals.find((arrival) => arrival.event.at > killedAt && arrival.event.type === "tool.output"),
  );
  await stream.next("turn.completed");

  expect(linesOf(file)).toEqual(["begun", "ended"]);
  const printed = stream
    .ofType("tool.output")
    .map((event) => event.text)
    .join("");
  expect(printed).toBe(Array.from({ length: 25 }, (_, i) => `line ${i}\n`).join(""));
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "ok" }]);
  // A bound on a broken hand-back (the heartbeat timeout is longer), not a measure of speed: bench/ has that.
  expect(next.event.at - killedAt).toBeLessThan(10_000);
});

test("a worker that is told to stop in mid-command leaves the command to the next one", async () => {
  const { file, command } = counted("stopped", 4);
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "over" }));
  await stream.next("tool.output");

  process.kill(world.pidOf("worker"), "SIGTERM");
  await stream.next("turn.completed");

  expect(linesOf(file)).toEqual(["begun", "ended"]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "ok" }]);
  const printed = stream.ofType("tool.output").map((event) => event.text);
  expect(printed.join("")).toBe(Array.from({ length: 40 }, (_, i) => `line ${i}\n`).join(""));
});

test("a worker killed while the model speaks costs a repeated call: clients are told to drop what the lost attempt had said", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  const text = "a reply that takes a while to be told, from its beginning to its very end";
  await session.post(scripted({ text, gapMs: 200 }));
  await stream.next("block.delta");

  world.kill("worker");
  const completed = await stream.next("turn.completed");

  expect(completed.output).toBe(text);
  const restarted = stream.ofType("step.restarted").at(-1);
  expect(restarted).toMatchObject({ step: 1 });
  const after = stream.ofType("block.delta").filter((event) => event.seq > (restarted?.seq ?? 0));
  expect(after.map((event) => event.text).join("")).toBe(text);
});

test.each([0, 40, 200])(
  "a worker killed %i ms after an interrupt leaves no command behind, and the turn is interrupted all the same",
  async (pauseMs) => {
    const marker = `${7_000 + pauseMs}`;
    const session = await world.createSession();
    const stream = session.stream();
    const command = `echo begun; sleep ${marker}`;
    await session.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "never" }));
    await stream.next("tool.output");

    const interrupted = session.interrupt();
    await delay(pauseMs);
    world.kill("worker");
    await interrupted;

    expect(await stream.next("turn.interrupted")).toMatchObject({ reason: "interrupted" });
    expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "interrupted" }]);
    await waitFor("the command is gone", () => processesOf(`sleep ${marker}`).length === 0);
  },
);

test("a killed API is back on the same port, and the stream goes on where it was", async () => {
  const { command } = counted("api", 2);
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "still here" }));
  await stream.next("tool.output");

  world.kill("api");
  const completed = await stream.next("turn.completed");

  expect(completed.output).toBe("still here");
  expect(stream.connections.length).toBeGreaterThan(1);
  expect(stream.faults).toEqual([]);
  expect(stream.events()).toEqual(await session.log());
});

test("a killed Temporal goes on from its file: the turn ends as if nothing had been", async () => {
  const { file, command } = counted("temporal", 1.5);
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "durable" }));
  await stream.next("tool.output");

  world.kill("temporal");
  const completed = await stream.next("turn.completed", () => true, 60_000);

  expect(completed).toMatchObject({ output: "durable", steps: 2 });
  expect(linesOf(file)).toEqual(["begun", "ended"]);
});

test("everything killed at once, and started again, goes on; a message whose API died before it told the workflow is not lost", async () => {
  const { file, command } = counted("all", 3);
  const session = await world.createSession();
  await session.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "first" }));
  await waitFor("the command has begun", () => existsSync(file));
  world.kill("worker");
  world.kill("temporal");
  const posted = world.request("POST", `/v1/sessions/${session.id}/messages`, {
    id: "orphan",
    content: scripted({ text: "second" }),
  });
  posted.catch(() => undefined); // Its API is killed while it waits for Temporal.
  await waitFor("the message is committed", async () => {
    return (await session.log()).some((event) => event.type === "message.received" && event.messageId === "orphan");
  });

  await world.restart("kill");
  const stream = session.stream();
  await stream.until("both turns have ended", () => stream.ofType("turn.completed").length === 2, 60_000);

  expect(stream.ofType("turn.completed").map((event) => event.output)).toEqual(["first", "second"]);
  expect(linesOf(file)).toEqual(["begun", "ended"]);
  expect(stream.ofType("message.received")).toHaveLength(2);
});
