/** Messages, stops and closes: what a person does to a session while it works. */
import { rmSync } from "node:fs";
import path from "node:path";
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

const sleepy = (marker: string) => ({ tools: [{ name: "bash", args: { command: `echo ${marker}; sleep 300` } }] });

test("an interrupt closes the model's stream within a second", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(`interrupt-model ${scripted({ text: "a long story that does not end", stall: true })}`);
  await stream.next("block.delta");

  const from = Date.now();
  await session.interrupt();
  const end = await stream.next("turn.interrupted");

  expect(end.reason).toBe("interrupted");
  const request = world.model.requests.find((one) => one.raw?.includes("interrupt-model"));
  expect(request?.closedEarlyAt).toBeDefined();
  expect((request?.closedEarlyAt ?? 0) - from).toBeLessThan(1_000);
});

test("an interrupt ends a command and everything it has started within a second, TERM or not", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  const command = `trap "" TERM; echo begun; sleep 301 & sleep 302`;
  await session.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "never" }));
  await stream.next("tool.output");

  await session.interrupt();
  await stream.next("turn.interrupted");

  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "interrupted" }]);
  await waitFor("the command is gone", () => processesOf("sleep 30").length === 0);
});

test("an interrupt of an idle session is no error and stops nothing later", async () => {
  const session = await world.createSession();
  await session.interrupt();
  const stream = session.stream();
  await session.post(scripted({ text: "fine" }));

  expect(await stream.next("turn.completed")).toMatchObject({ output: "fine" });
});

test("20 messages at once become 20 turns in the order in which they were received", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  const numbers = Array.from({ length: 20 }, (_, index) => index);
  await Promise.all(
    numbers.map((n) => session.post({ id: `m-${n}`, content: `n${n} ${scripted({ text: `answer ${n}` })}` })),
  );
  await stream.until("all turns have ended", () => stream.ofType("turn.completed").length === 20, 60_000);

  const received = stream.ofType("message.received").map((event) => event.messageId);
  expect(stream.ofType("turn.started").map((event) => event.messageId)).toEqual(received);
  expect(stream.ofType("turn.completed").map((event) => event.output)).toEqual(
    received.map((id) => `answer ${id.slice(2)}`),
  );
});

test("a message that interrupts stops the running turn and goes before those that wait", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post({ id: "first", content: scripted(sleepy("one")) });
  await stream.next("tool.output");
  await session.post({ id: "waits", content: scripted({ text: "second" }) });

  await session.post({ id: "now", content: scripted({ text: "at once" }), mode: "interrupt" });
  await stream.until("both others have ended", () => stream.ofType("turn.completed").length === 2);

  expect(stream.ofType("turn.interrupted")).toMatchObject([{ reason: "replaced" }]);
  expect(stream.ofType("turn.started").map((event) => event.messageId)).toEqual(["first", "now", "waits"]);
});

test("the same message id is the same turn, also after it has ended; other content under it is refused", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  const message = { id: "same", content: scripted({ text: "once" }) };
  const first = await session.post(message);
  await stream.next("turn.completed");

  expect((await session.post(message)).turnId).toBe(first.turnId);
  const other = await world.request("POST", `/v1/sessions/${session.id}/messages`, { id: "same", content: "other" });
  expect(other).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
  expect(stream.ofType("turn.started")).toHaveLength(1);
});

test("closing a session in mid-command ends the turn, the command and the stream, and refuses what comes after", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted(sleepy("closing")));
  await stream.next("tool.output");
  await session.post({ id: "too-late", content: "waits" });

  await session.close();
  await stream.until("the stream ends by itself", () => stream.isClosed);

  expect(stream.ofType("turn.interrupted")).toMatchObject([{ reason: "closed" }]);
  expect(stream.ofType("message.refused")).toMatchObject([{ messageId: "too-late" }]);
  const late = await world.request("POST", `/v1/sessions/${session.id}/messages`, { content: "hello?" });
  expect(late).toMatchObject({ status: 409, body: { code: "SESSION_CLOSED" } });
  expect(stream.faults).toEqual([]);
});

test("a deleted session is gone, with its sandbox and its rows", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(
    scripted({ tools: [{ name: "write_file", args: { path: "outputs/a.txt", content: "kept?" } }] }, { text: "ok" }),
  );
  await stream.next("turn.completed");
  await stream[Symbol.asyncDispose]();

  expect((await world.request("DELETE", `/v1/sessions/${session.id}`)).status).toBe(204);

  expect((await world.request("GET", `/v1/sessions/${session.id}`)).status).toBe(404);
  expect((await world.request("GET", `/v1/sessions/${session.id}/events`)).status).toBe(404);
});

test("an interrupt does not wait for a retry that the provider has put off", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  const fails = { status: 429, times: 1, headers: { "retry-after": "300" } };
  await session.post(`put-off ${scripted({ text: "late", fails })}`);
  expect(await stream.next("error")).toMatchObject({ code: "RATE_LIMIT", retryInMs: 300_000 });

  await session.interrupt();

  expect(await stream.next("turn.interrupted", () => true, 10_000)).toMatchObject({ reason: "interrupted" });
});

test("a sandbox whose files are gone is said to be lost, and a new one takes its place", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(
    scripted({ tools: [{ name: "bash", args: { command: "echo kept > note; pwd" } }] }, { text: "one" }),
  );
  await stream.next("turn.completed");
  const place = stream.ofType("tool.output")[0]?.text.trim() ?? "";
  expect(place).toContain(world.stateDir);
  rmSync(path.dirname(place), { recursive: true });

  await session.post(scripted({ tools: [{ name: "bash", args: { command: "ls; echo alive" } }] }, { text: "two" }));
  await stream.until("the second turn ends", () => stream.ofType("turn.completed").length === 2);

  expect(stream.ofType("sandbox.lost")).toMatchObject([{ generation: 1 }]);
  expect(stream.ofType("sandbox.ready")).toMatchObject([{ generation: 1 }, { generation: 2 }]);
  expect(stream.ofType("tool.completed").at(-1)).toMatchObject({
    outcome: "ok",
    result: expect.stringContaining("alive"),
  });
});
