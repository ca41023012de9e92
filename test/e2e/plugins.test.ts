/** Tools of one's own in a running stack: they run, they fail in words, and a killed worker's calls follow their replay rule. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AgentInput } from "../../contract/agents.ts";
import { CommandRun } from "../support/command-run.ts";
import type { EventReader } from "../support/event-reader.ts";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

const SECRET = "sk-scripted-secret-of-the-worker";
const TOOLS = ["effect_safe", "effect_keyed", "effect_ask", "fail", "linger"];
const agent: AgentInput = { tools: TOOLS };

const folder = mkdtempSync(path.join(tmpdir(), "perdure-effects-"));
let world: World;
beforeAll(async () => {
  const module = path.resolve("test/e2e/fixtures/effect-tools.ts");
  world = await startWorld({
    env: { PERDURE_TOOLS: module, EFFECTS_FOLDER: folder, OPENAI_API_KEY: SECRET },
  });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** What a tool has done under this name. A file that is there may still be empty. */
function linesOf(name: string): readonly string[] {
  const file = path.join(folder, name);
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
}
const letGo = (name: string): void => writeFileSync(path.join(folder, `${name}.go`), "");
const lastRequest = (): string => world.lastModelCall();

interface Turn {
  readonly session: SessionClient;
  readonly stream: EventReader;
}

/** A turn that makes one call. */
async function aCallOf(tool: string, args: object, given: AgentInput = agent): Promise<Turn> {
  const session = await world.createSession({ agent: given });
  const stream = session.stream();
  await session.post(scripted({ tools: [{ name: tool, args }] }, { text: "done" }));
  return { session, stream };
}

/** A call in whose middle the worker is killed without asking. */
async function aLostCall(
  replay: "safe" | "keyed" | "ask",
  given: AgentInput = agent,
): Promise<Turn & { name: string }> {
  const name = `${replay}-${Math.random().toString(36).slice(2)}`;
  const turn = await aCallOf(`effect_${replay}`, { name }, given);
  await waitFor(`${name} has begun`, () => linesOf(name).length === 1, 30_000);
  world.kill("worker");
  return { ...turn, name };
}

const decide = async ({ session }: Turn, callId: string, body: object): Promise<void> => {
  const route = `/v1/sessions/${session.id}/approvals/${callId}`;
  expect(await world.request("POST", route, body)).toMatchObject({ status: 200 });
};

test("a tool of one's own runs with checked arguments, and the model gets its result as JSON", async () => {
  letGo("plain");
  const { stream } = await aCallOf("effect_safe", { name: "plain" });

  await stream.next("turn.completed");

  const { callId } = await stream.next("tool.started");
  expect(linesOf("plain")).toEqual([`begun ${callId}`, "ended"]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "ok", result: '{"name":"plain","attempt":1}' }]);
  expect(lastRequest()).toContain("attempt");
});

test("wrong arguments never reach it", async () => {
  const { stream } = await aCallOf("effect_safe", { nam: "wrong" });

  await stream.next("turn.completed");

  expect(stream.ofType("tool.completed")).toMatchObject([
    { outcome: "error", result: expect.stringMatching(/^The arguments of effect_safe are wrong/) },
  ]);
});

test("what it throws is told to the model without its secrets", async () => {
  const { stream } = await aCallOf("fail", {});

  await stream.next("turn.completed");

  const [failed] = stream.ofType("tool.completed");
  expect(failed).toMatchObject({
    outcome: "error",
    result: expect.stringContaining("fail failed: the tide is out for"),
  });
  for (const text of [JSON.stringify(stream.events()), lastRequest()]) {
    expect(text).toContain("the tide is out");
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain("hunter2");
  }
});

test("one that takes too long is ended, and the turn goes on", async () => {
  const { stream } = await aCallOf("linger", {});

  expect(await stream.next("turn.completed")).toMatchObject({ output: "done" });

  expect(stream.ofType("tool.completed")).toMatchObject([
    { outcome: "error", result: expect.stringContaining("linger timed out after 300 ms") },
  ]);
});

test.for(["safe", "keyed"] as const)(
  "a killed worker's call of a %s tool runs again by itself, under the same id",
  async (replay) => {
    const { stream, name } = await aLostCall(replay);

    await waitFor("it runs again", () => linesOf(name).length === 2, 30_000);
    letGo(name);
    await stream.next("turn.completed");

    const { callId } = await stream.next("tool.started");
    expect(linesOf(name)).toEqual([`begun ${callId}`, `begun ${callId}`, "ended"]);
    expect(stream.ofType("tool.started")).toHaveLength(1);
    expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "ok" }]);
    expect(stream.ofType("approval.requested")).toEqual([]);
  },
);

test("a killed worker's call of a tool that asks runs again when a person says so, once", async () => {
  const lost = await aLostCall("ask");
  const { stream, name } = lost;

  const asked = await stream.next("approval.requested");
  expect(asked).toMatchObject({ name: "effect_ask", arguments: { name }, reason: expect.stringContaining("was lost") });
  expect(linesOf(name)).toHaveLength(1);
  letGo(name);
  await decide(lost, asked.callId, { decision: "approve" });
  await stream.next("turn.completed");

  expect(linesOf(name)).toEqual([`begun ${asked.callId}`, `begun ${asked.callId}`, "ended"]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "ok" }]);
});

test("a killed worker's call that a person does not let run again is unknown, and the model is told so", async () => {
  const lost = await aLostCall("ask");
  const { stream, name } = lost;

  const { callId } = await stream.next("approval.requested");
  letGo(name);
  await decide(lost, callId, { decision: "deny", reason: "I have looked: it was sent" });
  await stream.next("turn.completed");

  expect(linesOf(name)).toEqual([`begun ${callId}`]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "unknown" }]);
  expect(lastRequest()).toContain("I have looked: it was sent");
});

test("where nobody can be asked a killed worker's call of a tool that asks is unknown at once", async () => {
  const { stream, name } = await aLostCall("ask", { ...agent, approver: "none" });

  await stream.next("turn.completed");

  expect(linesOf(name)).toHaveLength(1);
  expect(stream.ofType("approval.requested")).toEqual([]);
  expect(stream.ofType("tool.completed")).toMatchObject([{ outcome: "unknown" }]);
});

test("a stack whose module is broken ends by itself, and says which module and why", async () => {
  const module = path.join(folder, "broken.ts");
  writeFileSync(module, 'throw new Error("no tide table");');
  const env = {
    PERDURE_TOOLS: module,
    PERDURE_STATE_DIR: path.join(folder, "state"),
    PERDURE_PORT: "0",
    OPENAI_API_KEY: SECRET,
    TEMPORAL_ADDRESS: world.stack.temporalAddress,
  };

  await using run = new CommandRun(["dev"], { env });
  const { exitCode, stderr } = await run.ended;

  expect(stderr).toContain(`${module}: it cannot be loaded: Error: no tide table`);
  expect(stderr).not.toContain("    at ");
  expect(exitCode).toBe(1);
});
