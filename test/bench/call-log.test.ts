/** What chaos must not let pass about calls that people decide, answer or run, and about messages that join or go. */
import { expect, test } from "vitest";
import { differences } from "../../bench/chaos/differences.ts";
import { structureOf } from "../../bench/chaos/log-structure.ts";
import type { Fact, SessionEvent, SessionEventOf } from "../../contract/events.ts";

const TURN = "turn_1" as const;
const USAGE = { inputTokens: 3, outputTokens: 2, cachedTokens: 0, reasoningTokens: 0 };
const NOTHING = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 };
const IN_STEP = { turnId: TURN, step: 1 };
const CALL = { ...IN_STEP, callId: "call_1" } as const;
const HASH = "0".repeat(64);
const ASKED = { command: "echo asked" };

const BEGUN: readonly Fact[] = [
  { type: "turn.started", turnId: TURN, messageId: "t-1-m1" },
  { type: "step.started", ...IN_STEP },
];
const BEGIN: readonly Fact[] = [...BEGUN, { type: "step.completed", ...IN_STEP, model: "m", usage: USAGE }];
const END: Fact = { type: "turn.completed", turnId: TURN, usage: USAGE, steps: 1, durationMs: 9, output: "" };
const STOPPED: Fact = {
  type: "turn.interrupted",
  turnId: TURN,
  usage: USAGE,
  steps: 1,
  durationMs: 9,
  reason: "interrupted",
};

const REQUESTED: Fact = {
  type: "approval.requested",
  ...CALL,
  name: "bash",
  arguments: ASKED,
  argumentsHash: HASH,
  reason: "a rule asks",
  deadline: 9,
};
const STARTED: Fact = { type: "tool.started", ...CALL, name: "bash", arguments: ASKED };

function decided(
  decision: "approve" | "deny",
  more: Partial<Pick<SessionEventOf<"approval.decided">, "by" | "arguments">> = {},
): Fact {
  return { type: "approval.decided", ...CALL, decision, by: "person", scope: "once", argumentsHash: HASH, ...more };
}

function completed(outcome: SessionEventOf<"tool.completed">["outcome"] = "ok"): Fact {
  return { type: "tool.completed", ...CALL, name: "bash", outcome, result: "as it was", durationMs: 1 };
}

function structure(...facts: readonly Fact[]) {
  return structureOf(
    facts.map((fact, index): SessionEvent => ({ seq: index + 1, at: 1, ...fact })),
    "t-1",
  );
}

/** The faults of a turn whose one step is followed by these facts. */
function faults(...facts: readonly Fact[]): readonly string[] {
  return structure(...BEGIN, ...facts).faults;
}

test("a call that is approved and runs, and one that is denied and does not, have no fault", () => {
  expect(faults(REQUESTED, decided("approve"), STARTED, completed(), END)).toEqual([]);
  expect(faults(REQUESTED, decided("deny"), completed("denied"), END)).toEqual([]);
});

test("a call that a policy denies has no start, and no fault", () => {
  expect(faults(completed("denied"), END)).toEqual([]);
});

test("a call that starts while nobody has decided, or although it was denied, is a fault", () => {
  expect(faults(REQUESTED, STARTED)[0]).toContain("it starts without a decision");
  expect(faults(REQUESTED, decided("deny"), STARTED)[0]).toContain("it starts against a decision");
});

test("a call that ends without a start is a fault, unless it was denied", () => {
  expect(faults(completed("ok"), END)[0]).toContain("its call never started");
  expect(faults(REQUESTED, decided("approve"), completed("ok"), END)[0]).toContain("its call never started");
  expect(faults(REQUESTED, decided("deny"), completed("ok"), END)[0]).toContain("it was denied");
  expect(faults(STARTED, completed("denied"), END)[0]).toContain("it is denied after it was begun");
});

test("a call that is decided twice, or without having been asked about, is a fault", () => {
  expect(faults(REQUESTED, decided("approve"), decided("deny"))[0]).toContain("nobody was asked");
  expect(faults(decided("approve"), STARTED, completed(), END)[0]).toContain("nobody was asked");
});

test("a remembered decision asks nobody", () => {
  expect(faults(decided("approve", { by: "grant" }), STARTED, completed(), END)).toEqual([]);
  expect(faults(decided("deny", { by: "grant" }), completed("denied"), END)).toEqual([]);
});

test("a call that is asked about twice is a fault, unless its outcome was lost while it ran", () => {
  expect(faults(REQUESTED, REQUESTED)[0]).toContain("not for the first time");
  expect(faults(STARTED, REQUESTED, decided("approve"), completed(), END)).toEqual([]);
  expect(faults(STARTED, REQUESTED, decided("deny"), completed("unknown"), END)).toEqual([]);
});

test("a call that runs with other arguments than were approved is a fault", () => {
  const edited = decided("approve", { arguments: { command: "echo edited" } });
  const asEdited: Fact = { ...STARTED, arguments: { command: "echo edited" } };

  expect(faults(REQUESTED, edited, asEdited, completed(), END)).toEqual([]);
  expect(faults(REQUESTED, edited, STARTED, completed(), END)[0]).toContain("it was approved with");
  expect(faults(REQUESTED, decided("approve"), asEdited, completed(), END)[0]).toContain("it was approved with");
});

test("a turn that ends while a call of it is still to be decided, to be run or to end is a fault", () => {
  expect(faults(REQUESTED, END)[0]).toContain("nobody decided about bash");
  expect(faults(REQUESTED, decided("approve"), END)[0]).toContain("bash has no end");
  expect(faults(REQUESTED, decided("deny"), END)[0]).toContain("bash has no end");
});

test("a stop decides what nobody has decided, and what was approved need not have begun", () => {
  expect(faults(REQUESTED, decided("deny", { by: "stop" }), STOPPED)).toEqual([]);
  expect(faults(REQUESTED, decided("approve"), STOPPED)).toEqual([]);
  expect(faults(REQUESTED, STOPPED)[0]).toContain("nobody decided about bash");
});

test("a tool that the caller runs is handed over instead of started, and ends once", () => {
  const handed: Fact = {
    type: "tool.requested",
    ...CALL,
    name: "bash",
    arguments: ASKED,
    argumentsHash: HASH,
    replay: "ask",
    deadline: 9,
  };

  expect(faults(handed, completed(), END)).toEqual([]);
  expect(faults(REQUESTED, decided("approve"), handed, completed(), END)).toEqual([]);
  expect(faults(handed, STARTED)[0]).toContain("it starts twice");
  expect(faults(handed, END)[0]).toContain("bash has no end");
});

test("a question is answered once, and only when it was asked", () => {
  const asked: Fact = { type: "question.asked", ...CALL, question: "why?", allowFreeform: true, deadline: 9 };
  const answered: Fact = { type: "question.answered", ...CALL, answer: "so", by: "person" };

  expect(faults(asked, answered, completed(), END)).toEqual([]);
  expect(faults(asked, answered, answered)[0]).toContain("nobody was asked");
  expect(faults(answered)[0]).toContain("nobody was asked");
});

test("a message joins a turn in the step that begins with it, once", () => {
  const joined: Fact = { type: "message.steered", messageId: "t-1-m2", ...IN_STEP };
  const rest = [...BEGIN.slice(BEGUN.length), END];

  expect(structure(...BEGUN, joined, ...rest).faults).toEqual([]);
  expect(structure(...BEGUN, joined, ...rest).turns[0]?.joined).toEqual(["TOKEN-m2 at step 1"]);
  expect(structure(...BEGUN, joined, joined, ...rest).faults[0]).toContain("begun or taken back before");
  expect(structure(...BEGIN, joined, END).faults[0]).toContain("its step is not open");
});

test("a message that was taken back and begins all the same is a fault", () => {
  const removed: Fact = { type: "message.removed", messageId: "t-1-m1" };

  expect(structure(removed).faults).toEqual([]);
  expect(structure(removed, ...BEGIN, END).faults[0]).toContain("begun or taken back before");
});

test("what was said of an answer that is cut off is ended and kept as the turn's output", () => {
  const block = { ...IN_STEP, index: 0 };
  const text = "half an ans";
  const said: readonly Fact[] = [
    ...BEGUN,
    { type: "block.started", ...block, block: { type: "text" } },
    { type: "block.delta", ...block, text },
  ];
  const kept: Fact = { type: "block.completed", ...block, block: { type: "text", text }, interrupted: true };
  const cut: Fact = { ...STOPPED, usage: NOTHING };
  const whole = structure(...said, kept, { ...cut, output: text });

  expect(whole.faults).toEqual([]);
  expect(structure(...said, cut).faults[0]).toContain("has no end");
  expect(structure(...said, kept, cut).faults[0]).toContain("its texts say");
  expect(differences(whole, structure(...BEGUN, cut))).toEqual([]);
});
