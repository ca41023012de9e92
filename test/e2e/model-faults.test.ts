/** What a turn does when its model fails: it tries again where that can help, and always ends, in words. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentInput } from "../../contract/agents.ts";
import type { SessionEventOf } from "../../contract/events.ts";
import type { ScriptStep } from "../support/model-endpoint.ts";
import { type SessionClient, scripted, startWorld, type World } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

interface Ended {
  readonly end: SessionEventOf<"turn.completed" | "turn.failed" | "turn.interrupted">;
  readonly session: SessionClient;
}

async function runTurn(agent: AgentInput, ...steps: readonly ScriptStep[]): Promise<Ended> {
  const session = await world.createSession({ agent });
  const { turnId } = await session.post(`${crypto.randomUUID()} ${scripted(...steps)}`);
  const stream = session.stream();
  const end = await stream.until("the turn ends", () =>
    stream.events().find((event): event is Ended["end"] => {
      return /^turn\.(completed|failed|interrupted)$/.test(event.type) && "turnId" in event && event.turnId === turnId;
    }),
  );
  await stream[Symbol.asyncDispose]();
  return { end, session };
}

describe("errors that a retry cannot mend end the turn at once", () => {
  test.each([
    [401, "AUTH_INVALID"],
    [400, "INVALID_INPUT"],
    [403, "PERMISSION_DENIED"],
    [404, "MODEL_NOT_FOUND"],
  ])("status %i is %s", async (status, code) => {
    const { end, session } = await runTurn({}, { status, text: "no" });

    expect(end).toMatchObject({ type: "turn.failed", code, retryable: false });
    expect((await session.log()).filter((event) => event.type === "step.restarted")).toEqual([]);
  });

  test("a refusal is an INVALID_RESPONSE with the model's words", async () => {
    const { end } = await runTurn({}, { refusal: "I would rather not." });

    expect(end).toMatchObject({ type: "turn.failed", code: "INVALID_RESPONSE", retryable: false });
    expect(end).toHaveProperty("message", expect.stringContaining("I would rather not."));
  });

  test("a context that is too long is a CONTEXT_OVERFLOW", async () => {
    const { end } = await runTurn({}, { failed: { code: "context_length_exceeded", message: "too long" } });

    expect(end).toMatchObject({ type: "turn.failed", code: "CONTEXT_OVERFLOW", retryable: false });
  });
});

describe("errors that may pass are tried again", () => {
  test("500 twice and then an answer completes the turn, and says what happened", async () => {
    const { end, session } = await runTurn({}, { text: "at last", fails: { status: 500, times: 2 } });

    expect(end).toMatchObject({ type: "turn.completed", output: "at last", steps: 1 });
    const log = await session.log();
    expect(log.filter((event) => event.type === "error")).toHaveLength(2);
    expect(log.filter((event) => event.type === "step.restarted")).toMatchObject([{ attempt: 2 }, { attempt: 3 }]);
  });

  test("429 waits as long as the provider asks", async () => {
    const fails = { status: 429, times: 1, headers: { "retry-after": "1" } };
    const { end, session } = await runTurn({}, { text: "calm", fails });

    expect(end).toMatchObject({ type: "turn.completed", output: "calm" });
    const log = await session.log();
    const error = log.find((event) => event.type === "error");
    const again = log.find((event) => event.type === "step.restarted");
    expect(error).toMatchObject({ code: "RATE_LIMIT", retryInMs: 1_000 });
    expect((again?.at ?? 0) - (error?.at ?? 0)).toBeGreaterThanOrEqual(990);
  });

  test("a stream that is cut in the middle each time fails the turn after the last attempt", async () => {
    const { end, session } = await runTurn({ limits: { modelAttempts: 2 } }, { text: "half of it", cut: true });

    expect(end).toMatchObject({ type: "turn.failed", code: "NETWORK", retryable: true });
    expect((await session.log()).filter((event) => event.type === "step.started")).toHaveLength(1);
  });

  test("a stream that stalls is broken after the agent's idle timeout", async () => {
    const limits = { modelAttempts: 1, modelIdleTimeoutMs: 300 };
    const { end } = await runTurn({ limits }, { text: "and then noth", stall: true });

    expect(end).toMatchObject({ type: "turn.failed", code: "TIMEOUT", retryable: true });
  });
});

describe("what the model gets wrong goes back to it", () => {
  test("an unknown tool is a tool error, and the turn goes on", async () => {
    const { end, session } = await runTurn({}, { tools: [{ name: "fly_to_moon", args: {} }] }, { text: "I see" });

    expect(end).toMatchObject({ type: "turn.completed", output: "I see", steps: 2 });
    const completed = (await session.log()).find((event) => event.type === "tool.completed");
    expect(completed).toMatchObject({ name: "fly_to_moon", outcome: "error" });
    expect(completed).toHaveProperty("result", expect.stringContaining("read_file"));
  });

  test("malformed and mistyped arguments are tool errors that name what is wrong", async () => {
    const tools = [
      { name: "read_file", rawArgs: '{"path": ' },
      { name: "read_file", args: { path: 7, colour: "red" } },
    ];
    const { end, session } = await runTurn({}, { tools }, { text: "sorry" });

    expect(end).toMatchObject({ type: "turn.completed", output: "sorry" });
    const results = (await session.log()).filter((event) => event.type === "tool.completed");
    expect(results).toMatchObject([{ outcome: "error" }, { outcome: "error" }]);
    expect(results[1]).toHaveProperty("result", expect.stringMatching(/path/));
  });

  test("an answer that misses the schema is asked for once more, and then accepted", async () => {
    const outputSchema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
    const { end } = await runTurn({ outputSchema }, { text: '{"city": 42}' }, { text: '{"city": "Oslo"}' });

    expect(end).toMatchObject({ type: "turn.completed", structuredOutput: { city: "Oslo" }, steps: 2 });
  });

  test("an answer that misses the schema twice fails the turn", async () => {
    const outputSchema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
    const { end } = await runTurn({ outputSchema }, { text: "Oslo!", times: 3 });

    expect(end).toMatchObject({ type: "turn.failed", code: "INVALID_RESPONSE", retryable: false, steps: 2 });
  });
});

describe("an agent's limits end a turn", () => {
  test("stepsPerTurn", async () => {
    const tools = [{ name: "list_files", args: {} }];
    const { end } = await runTurn({ limits: { stepsPerTurn: 3 } }, { tools, times: 10 });

    expect(end).toMatchObject({ type: "turn.failed", code: "LIMIT_EXCEEDED", steps: 3 });
  });

  test("tokensPerTurn", async () => {
    const step = { tools: [{ name: "list_files", args: {} }], usage: { in: 600, out: 10 }, times: 10 };
    const { end } = await runTurn({ limits: { tokensPerTurn: 1_000 } }, step);

    expect(end).toMatchObject({ type: "turn.failed", code: "LIMIT_EXCEEDED", steps: 2 });
  });

  test("turnTimeoutMs, in the middle of a command, which is ended", async () => {
    const tools = [{ name: "bash", args: { command: "echo here; sleep 60" } }];
    const { end, session } = await runTurn({ limits: { turnTimeoutMs: 1_500 } }, { tools });

    expect(end).toMatchObject({ type: "turn.failed", code: "TIMEOUT" });
    expect((await session.log()).find((event) => event.type === "tool.completed")).toMatchObject({
      outcome: "interrupted",
    });
  });
});
