/** A step's answer stays within its bound, whatever it tells: calls that all wait, and a configuration that is news. */
import { expect, test } from "vitest";
import type { Gatekeeper } from "../../activities/gated-calls.ts";
import { planCalls } from "../../activities/planned-calls.ts";
import { Agent, type AgentInput, ClientTool } from "../../contract/agents.ts";
import type { ToolCallBlock } from "../../contract/blocks.ts";
import { newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { type StepAnswer, sessionAgent } from "../../contract/steps.ts";
import type { Database } from "../../store/database.ts";
import { temporaryStore } from "../store/store-builder.ts";
import { aGatekeeper } from "./gatekeeper-builder.ts";

const ASKING: AgentInput = { policy: { default: "ask", rules: [] } };
const { stepsPerTurn, turnTimeoutMs, tokensPerTurn, toolsInParallel } = LIMITS;
const HIGHEST = {
  stepsPerTurn: stepsPerTurn.max,
  turnTimeoutMs: turnTimeoutMs.max,
  tokensPerTurn: tokensPerTurn.max,
  toolsInParallel: toolsInParallel.max,
};

const call = (name: string, args: ToolCallBlock["arguments"] = {}): ToolCallBlock => ({
  type: "tool_call",
  callId: newId("call"),
  name,
  arguments: args,
});
const bash = (command: string): ToolCallBlock => call("bash", { command });
const keeper = (database: Database, agent: Agent, clientTools: readonly object[] = []): Gatekeeper =>
  aGatekeeper({ database, agent, clientTools: clientTools.map((tool) => ClientTool.parse(tool)) });

const big = 999_999_999_999;
const usage = { inputTokens: big, outputTokens: big, cachedTokens: big, reasoningTokens: big };
const long = (index: number): string => `t${String(index).padStart(63, "_")}`;

test.for([
  ["ask", ASKING],
  ["wait for their caller", {}],
] as const)("the answer is within its bound when 20 calls with the longest names all %s", async ([, agent]) => {
  await using store = await temporaryStore();
  const clientTools = Array.from({ length: LIMITS.callsPerStep }, (_, index) => ({ name: long(index) }));

  const of = keeper(store.database, Agent.parse(agent), clientTools);
  const { made, planned } = await planCalls(
    of,
    clientTools.map(({ name }) => call(name)),
  );

  const calls = planned.map(({ quick: _, ...rest }) => rest);
  const answer: StepAnswer = { next: "calls", calls, usage, ranTools: false, artifacts: false };
  expect(Buffer.byteLength(JSON.stringify(answer))).toBeLessThanOrEqual(LIMITS.activityPayloadBytesMax);
  expect(planned.length).toBeGreaterThanOrEqual(5);
  expect(made.filter(({ answer }) => answer?.outcome === "error")).toHaveLength(20 - planned.length);
  expect(made.filter(({ wait }) => wait)).toHaveLength(planned.length);
});

test.for([
  ["a long name", "a".repeat(100)],
  ["a name of many bytes", "語".repeat(100)],
  ["a name that JSON escapes", "\u0001".repeat(100)],
])(
  "the answer is within its bound also when it tells of a new configuration, of an agent with %s",
  async ([, name]) => {
    await using store = await temporaryStore();
    const agent = Agent.parse({ ...ASKING, name, limits: HIGHEST });
    const configured = { configuration: 1_000_000, agent: sessionAgent(agent) };
    const blocks = Array.from({ length: LIMITS.callsPerStep }, () => bash("x".repeat(500)));

    const newsBytes = Buffer.byteLength(JSON.stringify({ configured }));
    const { planned } = await planCalls(keeper(store.database, Agent.parse(agent)), blocks, newsBytes);

    const calls = planned.map(({ quick: _, ...rest }) => rest);
    const answer: StepAnswer = { next: "calls", calls, usage, ranTools: true, artifacts: true, configured };
    expect(Buffer.byteLength(JSON.stringify(answer))).toBeLessThanOrEqual(LIMITS.activityPayloadBytesMax);
    expect(planned.length).toBeGreaterThanOrEqual(5);
  },
);

test("the answer keeps room for the news of a handoff beside it", async () => {
  await using store = await temporaryStore();
  const agent: AgentInput = { ...ASKING, handoffs: [{ agent: "tester", version: 1 }] };
  const next = sessionAgent(Agent.parse({ name: "\u0001".repeat(100), limits: HIGHEST }));
  const blocks = [...Array.from({ length: 19 }, () => bash("x")), call("transfer_to_tester")];

  const { made, planned } = await planCalls(keeper(store.database, Agent.parse(agent)), blocks);

  const configured = { configuration: 1_000_000, agent: next };
  const calls = planned.map(({ quick: _, ...rest }) => rest);
  const answer: StepAnswer = { next: "calls", calls, usage, ranTools: true, artifacts: true, configured };
  expect(made.at(-1)?.handOver).toEqual({ id: "tester", version: 1 });
  expect(Buffer.byteLength(JSON.stringify(answer))).toBeLessThanOrEqual(LIMITS.activityPayloadBytesMax);
});
