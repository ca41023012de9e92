/** What chaos takes for the same story, and what it must not let pass. */
import { expect, test } from "vitest";
import { differences } from "../../bench/chaos/differences.ts";
import { structureOf } from "../../bench/chaos/log-structure.ts";
import type { Fact, SessionEvent } from "../../contract/events.ts";

const TURN = "turn_1" as const;
const CALL = "call_1" as const;
const USAGE = { inputTokens: 3, outputTokens: 2, cachedTokens: 0, reasoningTokens: 0 };
const IN_STEP = { turnId: TURN, step: 1 };
const COMMAND = { command: "echo hi" };

const BEGIN: readonly Fact[] = [
  { type: "turn.started", turnId: TURN, messageId: "t-1-m1" },
  { type: "step.started", ...IN_STEP },
];
const STREAMED: readonly Fact[] = [
  { type: "block.started", ...IN_STEP, index: 0, block: { type: "tool_call" } },
  { type: "block.delta", ...IN_STEP, index: 0, text: JSON.stringify(COMMAND) },
];
const REPLY: readonly Fact[] = [
  ...STREAMED,
  {
    type: "block.completed",
    ...IN_STEP,
    index: 0,
    block: { type: "tool_call", callId: CALL, name: "bash", arguments: COMMAND },
  },
  { type: "step.completed", ...IN_STEP, model: "m", usage: USAGE },
];
const TOOL: readonly Fact[] = [
  { type: "tool.started", ...IN_STEP, callId: CALL, name: "bash", arguments: COMMAND },
  { type: "tool.output", ...IN_STEP, callId: CALL, stream: "stdout", text: "hi\n" },
  { type: "tool.completed", ...IN_STEP, callId: CALL, name: "bash", outcome: "ok", result: "hi", durationMs: 1 },
];
const END: readonly Fact[] = [
  { type: "turn.completed", turnId: TURN, usage: USAGE, steps: 1, durationMs: 9, output: "" },
];

function structure(...facts: readonly Fact[]) {
  return structureOf(
    facts.map((fact, index): SessionEvent => ({ seq: index + 1, at: 1, ...fact })),
    "t-1",
  );
}

const PLAIN = structure(...BEGIN, ...REPLY, ...TOOL, ...END);

test("a plain turn has no fault", () => {
  expect(PLAIN.faults).toEqual([]);
});

test("what a lost attempt had streamed does not count once the step is restarted", () => {
  const restarted: Fact = { type: "step.restarted", ...IN_STEP, attempt: 2 };
  const found = structure(...BEGIN, ...STREAMED, restarted, ...REPLY, ...TOOL, ...END);

  expect(found.faults).toEqual([]);
  expect(differences(PLAIN, found)).toEqual([]);
});

test("streaming a block again without saying that the step was restarted is a fault", () => {
  const found = structure(...BEGIN, ...STREAMED, ...REPLY, ...TOOL, ...END);

  expect(found.faults[0]).toContain("not the next block");
});

test("output that comes twice makes another story", () => {
  const twice = TOOL.flatMap((fact): readonly Fact[] => (fact.type === "tool.output" ? [fact, fact] : [fact]));

  expect(differences(PLAIN, structure(...BEGIN, ...REPLY, ...twice, ...END))).toEqual([
    'turn 1.steps.0.calls.0.stdout: expected "hi\\n", found "hi\\nhi\\n"',
  ]);
});

test("a call that starts twice, ends twice or never ends is a fault", () => {
  const [started, output, completed] = TOOL;
  if (!started || !output || !completed) throw new Error("a call has three facts here");

  expect(structure(...BEGIN, ...REPLY, started, ...TOOL, ...END).faults[0]).toContain("it starts twice");
  expect(structure(...BEGIN, ...REPLY, ...TOOL, completed, ...END).faults[0]).toContain("its call is over");
  expect(structure(...BEGIN, ...REPLY, started, output, ...END).faults[0]).toContain("bash has no end");
});

test("a turn without an end, and tokens that are counted twice, are faults", () => {
  const doubled: Fact = { ...END[0], usage: { ...USAGE, inputTokens: 6 } } as Fact;

  expect(structure(...BEGIN, ...REPLY, ...TOOL).faults).toEqual(["turn of TOKEN-m1 has no end"]);
  expect(structure(...BEGIN, ...REPLY, ...TOOL, doubled).faults[0]).toContain("its steps used 5 tokens");
});
