/** One conversation over two backends: it keeps what was said and what was done, wherever it goes on. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { runtimesOf } from "../../bench/chaos/runtimes.ts";
import { type ModelEndpoint, type ScriptStep, startModelEndpoint } from "../support/model-endpoint.ts";
import { processesOf } from "../support/stray-processes.ts";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

let world: World;
let model: ModelEndpoint;
beforeAll(async () => {
  model = await startModelEndpoint();
  world = await startWorld({
    modelUrl: model.url,
    env: { COPILOT_PROVIDER_BASE_URL: model.url, COPILOT_PROVIDER_API_KEY: "sk-copilot-scripted" },
  });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await model?.close();
});

const bash = (command: string) => ({ tools: [{ name: "bash", args: { command } }] });
const requestOf = (marker: string): string =>
  model.requests.findLast((one) => one.raw?.includes(marker))?.raw?.toString() ?? "";

async function say(session: SessionClient, marker: string, ...steps: readonly ScriptStep[]): Promise<void> {
  const stream = session.stream();
  const { turnId } = await session.post(`${marker} ${scripted(...steps)}`);
  await stream.next("turn.completed", (event) => event.turnId === turnId);
}

test("a session that was started with openai, moved to copilot and back, knows its first message and its files", async () => {
  const session = await world.createSession({ backend: "openai" });
  const move = (backend: string) => world.request("PATCH", `/v1/sessions/${session.id}`, { backend });
  await say(session, "my name is Ada", { think: "hm", ...bash("echo remembered > notes.txt") }, { text: "hello Ada" });

  expect(await move("copilot")).toMatchObject({ status: 200, body: { applied: true } });
  await say(session, "second-turn", bash("cat notes.txt"), { text: "it says remembered" });
  const onCopilot = requestOf("second-turn");
  await say(session, "third-turn", bash("echo more >> notes.txt"), { text: "added" });
  await move("openai");
  await say(session, "fourth-turn", bash("cat notes.txt"), { text: "both there" });
  const back = requestOf("fourth-turn");

  for (const seen of [onCopilot, back]) {
    expect(seen).toContain("my name is Ada");
    expect(seen).toContain("hello Ada");
    expect(seen).toContain("echo remembered > notes.txt");
  }
  expect(back).toContain("it says remembered");
  expect(back).toContain("more");
  const updates = session.stream();
  await updates.until("both moves are told", () => updates.ofType("session.updated").length === 2);
  expect(updates.ofType("session.updated")).toMatchObject([
    { backend: "copilot", notCarried: [{ count: 1 }] },
    { backend: "openai" },
  ]);
});

test("the copilot runtime killed in mid-step costs one restart of the step and nothing else", async () => {
  const session = await world.createSession({ backend: "copilot" });
  const stream = session.stream();
  await session.post(scripted(bash("echo one"), { text: "a slow answer that takes its time", gapMs: 60 }));
  await stream.next("block.delta", ({ step }) => step === 2);

  const runtimes = runtimesOf(world.pidOf("worker"));
  expect(runtimes.length).toBeGreaterThan(0);
  for (const pid of runtimes) process.kill(pid, "SIGKILL");

  expect(await stream.next("turn.completed")).toMatchObject({ output: "a slow answer that takes its time" });
  expect(stream.ofType("step.restarted")).toMatchObject([{ step: 2, attempt: 2 }]);
  expect(stream.ofType("tool.started")).toHaveLength(1);
});

test("a copilot session goes on at another worker, from what is committed", async () => {
  const session = await world.createSession({ backend: "copilot" });
  await say(session, "before-kill", bash("echo kept"), { text: "first" });
  const [runtime] = runtimesOf(world.pidOf("worker"));
  const since = world.stackEvents.length;
  world.kill("worker");
  await world.untilReady("worker", since);

  await say(session, "after-kill", { text: "second" });

  expect(requestOf("after-kill")).toContain("before-kill");
  expect(requestOf("after-kill")).toContain("kept");
  expect(runtime).toBeDefined();
  await waitFor("the runtime of the dead worker is gone", () => !processesOf("copilot-runtime").includes(runtime ?? 0));
});
