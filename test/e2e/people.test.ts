/** Questions to people, tools that the caller runs, messages that join a running turn, and a queue that can be edited. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const sleepy = { tools: [{ name: "bash", args: { command: "echo begun; sleep 300" } }] };
const post = (session: SessionClient, route: string, body: object) =>
  world.request<Record<string, unknown>>("POST", `/v1/sessions/${session.id}/${route}`, body);
const lastRequest = (): string => world.lastModelCall();

test("a question waits for a person, who may choose or write, and the answer goes to the model", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  const ask = (args: object) => ({ tools: [{ name: "ask_user", args }] });
  await session.post(
    scripted(ask({ question: "Which?", choices: ["red", "blue"], allowFreeform: false }), ask({ question: "Why?" }), {
      text: "done",
    }),
  );
  const first = await stream.next("question.asked");

  const neither = await post(session, `answers/${first.callId}`, { answer: "green" });
  const chosen = await post(session, `answers/${first.callId}`, { choice: 1 });
  const second = await stream.next("question.asked", ({ callId }) => callId !== first.callId);
  const free = await post(session, `answers/${second.callId}`, { answer: "because" });
  const again = await post(session, `answers/${second.callId}`, { answer: "no" });
  await stream.next("turn.completed");

  expect(first).toMatchObject({ question: "Which?", choices: ["red", "blue"], allowFreeform: false });
  expect([neither.status, chosen.status, free.status, again.status]).toEqual([400, 200, 200, 409]);
  expect(stream.ofType("question.answered")).toMatchObject([{ answer: "blue", choice: 1 }, { answer: "because" }]);
  expect(lastRequest()).toContain("because");
});

test("a question that nobody answers comes back to the model when its time is up", async () => {
  const session = await world.createSession({ agent: { limits: { questionTimeoutMs: 200 } } });
  const stream = session.stream();

  await session.post(scripted({ tools: [{ name: "ask_user", args: { question: "Anybody?" } }] }, { text: "alone" }));

  expect(await stream.next("turn.completed")).toMatchObject({ output: "alone" });
  expect(stream.ofType("question.answered")).toMatchObject([{ answer: null, by: "deadline" }]);
});

test("a client's tool is asked for on the stream, and its result goes to the model once", async () => {
  const clientTools = [
    {
      name: "look_up",
      description: "Looks up.",
      parameters: { type: "object", required: ["id"], properties: { id: { type: "number" } } },
    },
  ];
  const session = await world.createSession({ clientTools });
  const stream = session.stream();
  const call = (args: object) => ({ tools: [{ name: "look_up", args }] });
  await session.post(scripted(call({ id: "x" }), call({ id: 7 }), { text: "done" }));
  const asked = await stream.next("tool.requested");

  const given = await post(session, `tool-results/${asked.callId}`, { result: { name: "seven", tags: [1, null] } });
  const twice = await post(session, `tool-results/${asked.callId}`, { result: "other" });
  await stream.next("turn.completed");

  expect(asked).toMatchObject({ name: "look_up", arguments: { id: 7 } });
  expect([given.status, twice.status]).toEqual([200, 409]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "error" }, { outcome: "ok" }]);
  expect(lastRequest()).toContain("seven");
});

test("a message that steers is seen by the model at its next step, and confirmed by an event", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(
    scripted(
      { tools: [{ name: "bash", args: { command: "until [ -e go ]; do sleep 0.02; done" } }] },
      { text: "never" },
    ),
  );
  const first = await stream.next("tool.started");

  const steered = await session.post({ content: `rather this ${scripted({ text: "steered" })}`, mode: "steer" });
  const waits = await world.request<{ messages: object[] }>("GET", `/v1/sessions/${session.id}/messages?state=waiting`);
  expect(waits.body.messages).toMatchObject([{ messageId: steered.messageId, mode: "steer" }]);
  await world.fetch(`${world.url}/v1/sessions/${session.id}/files/go`, { method: "PUT", body: "now" });
  const end = await stream.next("turn.completed");

  expect(steered.turnId).toBe(first.turnId);
  expect(end).toMatchObject({ turnId: first.turnId, output: "steered" });
  expect(stream.ofType("message.steered")).toMatchObject([{ messageId: steered.messageId, step: 2 }]);
  expect(stream.ofType("turn.started")).toHaveLength(1);
});

test("a message that steers the agent's last step keeps the turn going", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted({ text: "a slow and last answer that takes its time", gapMs: 40 }));
  await stream.next("block.delta");

  await session.post({ content: scripted({ text: "and more" }), mode: "steer" });

  expect(await stream.next("turn.completed")).toMatchObject({ output: "and more", steps: 2 });
  expect(stream.ofType("turn.started")).toHaveLength(1);
});

test("a message that steers a turn which is stopped before it joins gets a turn of its own", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted(sleepy, { text: "never" }));
  await stream.next("tool.output");
  await session.post({ id: "late", content: scripted({ text: "mine" }), mode: "steer" });

  await session.interrupt();

  expect(await stream.next("turn.completed")).toMatchObject({ output: "mine" });
  expect(stream.ofType("turn.started").at(-1)).toMatchObject({ messageId: "late" });
});

test("a waiting message can be taken back, a running one can not", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post({ id: "runs", content: scripted(sleepy, { text: "never" }) });
  await stream.next("tool.output");
  for (const id of ["first", "second"]) await session.post({ id, content: scripted({ text: id }) });
  const remove = (id: string) => world.request("DELETE", `/v1/sessions/${session.id}/messages/${id}`);

  const answers = [await remove("first"), await remove("first"), await remove("runs"), await remove("never")];
  await session.interrupt();
  await stream.next("turn.completed");

  expect(answers.map(({ status }) => status)).toEqual([204, 204, 409, 404]);
  expect(stream.ofType("turn.started").map(({ messageId }) => messageId)).toEqual(["runs", "second"]);
  expect(stream.ofType("message.removed")).toMatchObject([{ messageId: "first" }]);
});

test("what the agent had said before it was interrupted is kept, marked, and shown to it", async () => {
  const session = await world.createSession();
  const stream = session.stream();
  await session.post(scripted({ text: "once upon a time there was", stall: true }));
  await stream.until(
    "it has spoken",
    () =>
      stream
        .ofType("block.delta")
        .map(({ text }) => text)
        .join("").length > 10,
  );

  await session.interrupt();
  const end = await stream.next("turn.interrupted");
  await session.post(scripted({ text: "and then" }));
  await stream.next("turn.completed");

  const said = stream.ofType("block.delta").filter(({ turnId }) => turnId === end.turnId);
  expect(end.output).toBe(said.map(({ text }) => text).join(""));
  expect(stream.ofType("block.completed")[0]).toMatchObject({ interrupted: true, block: { text: end.output } });
  expect(lastRequest()).toContain(end.output);
  const transcript = await world.request<{ messages: object[] }>("GET", `/v1/sessions/${session.id}/transcript`);
  expect(transcript.body.messages).toContainEqual(expect.objectContaining({ role: "assistant", interrupted: true }));
});

test("a turn's clock stands still while it waits for a person", async () => {
  const session = await world.createSession({ agent: { limits: { turnTimeoutMs: 1_500 } } });
  const stream = session.stream();
  await session.post(scripted({ tools: [{ name: "ask_user", args: { question: "Slow?" } }] }, { text: "fine" }));
  const asked = await stream.next("question.asked");
  await waitFor("longer than the turn may take has passed", () => Date.now() > asked.at + 2_000);

  await post(session, `answers/${asked.callId}`, { answer: "yes" });

  expect(await stream.next("turn.completed")).toMatchObject({ output: "fine" });
});
