/** What a person who only follows a session sees of approvals, questions, steering and changes. */
import { expect, test } from "vitest";
import { LiveView } from "../../cli/live-view.ts";
import { Screen } from "../../cli/screen.ts";
import { createStyle } from "../../cli/style.ts";
import { untilText } from "../../cli/wait-view.ts";
import type { SessionEvent } from "../../contract/events.ts";
import { LIMITS } from "../../contract/limits.ts";

const STEP = { turnId: "turn_1", step: 1 };
const CALL = { ...STEP, callId: "call_1" };
const HASH = "a".repeat(64);
const USAGE = { inputTokens: 5, outputTokens: 1, cachedTokens: 0, reasoningTokens: 0 };
const REQUESTED = {
  type: "approval.requested",
  ...CALL,
  name: "bash",
  argumentsHash: HASH,
  reason: "rule 1",
  deadline: 0,
};

test("an approval is its tool, its arguments, why it asks, until when, and how to decide", () => {
  const text = shown({ ...REQUESTED, arguments: { command: "rm -rf build", cwd: "web" } });

  expect(text.trimStart()).toBe(
    "? may bash run? call_1\n  │ command: rm -rf build\n  │ cwd: web\n  why: rule 1\n  denied now\n  decide with: perdure approve call_1 (or deny)\n",
  );
});

test("its arguments are bounded, and what is left out is counted", () => {
  const text = shown({ ...REQUESTED, arguments: { content: "line\n".repeat(100_000) } });

  expect(text.match(/│/g)).toHaveLength(LIMITS.shownArgumentRows.default + 1);
  expect(text).toContain("more rows not shown here");
});

test.each<[object, string]>([
  [{ decision: "approve", by: "person", scope: "once" }, "✓ approved bash by a person\n"],
  [{ decision: "approve", by: "grant", scope: "always" }, "✓ approved bash as remembered, always\n"],
  [{ decision: "deny", by: "deadline", scope: "once" }, "✗ denied bash by its deadline\n"],
  [
    { decision: "deny", by: "person", scope: "once", reason: "evil \u001b[2J" },
    "✗ denied bash by a person: evil ␛[2J\n",
  ],
  [
    { decision: "approve", by: "person", scope: "once", arguments: { command: "true it" } },
    "✓ approved bash by a person, with edited arguments\n  │ command: true it\n",
  ],
])("a decision tells who decided what (%j)", (decision, expected) => {
  const text = shown(
    { ...REQUESTED, arguments: {} },
    { type: "approval.decided", ...CALL, argumentsHash: HASH, ...decision },
  );

  expect(text.endsWith(expected)).toBe(true);
});

test("a call that was denied is told once", () => {
  const decision = {
    type: "approval.decided",
    ...CALL,
    decision: "deny",
    by: "person",
    scope: "once",
    argumentsHash: HASH,
  };
  const result = {
    type: "tool.completed",
    ...CALL,
    name: "bash",
    outcome: "denied",
    result: "A person denied it.",
    durationMs: 1,
  };

  expect(shown({ ...REQUESTED, arguments: {} }, decision, result)).not.toContain("A person denied it.");
});

test("a call that a policy denied is told by its result", () => {
  const result = {
    type: "tool.completed",
    ...CALL,
    name: "bash",
    outcome: "denied",
    result: "Not allowed here.",
    durationMs: 1,
  };

  expect(shown(result)).toContain("Not allowed here.");
});

test("a question is its words and its choices, and its answer stands below", () => {
  const asked = {
    type: "question.asked",
    ...CALL,
    question: "which?\nsay",
    choices: ["a", "b"],
    allowFreeform: true,
    deadline: 0,
  };
  const text = shown(asked, { type: "question.answered", ...CALL, answer: "b", choice: 1, by: "person" });

  expect(text.trimStart()).toBe("? which? call_1\n  say\n  1  a\n  2  b\n  goes on unanswered now\n✓ answered: b\n");
});

test("a question that nobody answered says so", () => {
  expect(shown({ type: "question.answered", ...CALL, answer: null, by: "deadline" })).toBe(
    "✗ not answered: ended by its deadline\n",
  );
});

test.each<[object, string]>([
  [{ type: "message.steered", messageId: "m2", ...STEP, step: 3 }, "the message joined the turn at step 3\n"],
  [{ type: "message.removed", messageId: "m2" }, "message m2 was taken back\n"],
])("what became of a message is told (%j)", (event, expected) => {
  expect(shown(event)).toBe(expected);
});

test("another agent, backend or model is told, with what is not carried over", () => {
  const notCarried = [{ what: "thinking block", count: 2, why: "it is sealed for openai" }];
  const agentRef = { id: "reviewer", version: 3 };
  const text = shown({
    type: "session.updated",
    agent: "Reviewer",
    agentRef,
    backend: "copilot",
    model: null,
    notCarried,
  });

  expect(text).toBe(
    "→ from here on: agent Reviewer (reviewer, version 3) on copilot, its default model\n! 2 thinking blocks not carried over: it is sealed for openai\n",
  );
});

test("an answer that was cut off is shown as far as it came, and said to be", () => {
  const text = shown(
    { type: "block.started", ...STEP, index: 0, block: { type: "text" } },
    { type: "block.delta", ...STEP, index: 0, text: "half of" },
    { type: "block.completed", ...STEP, index: 0, block: { type: "text", text: "half of" }, interrupted: true },
    {
      type: "turn.interrupted",
      turnId: "turn_1",
      usage: USAGE,
      steps: 1,
      durationMs: 1,
      reason: "interrupted",
      output: "half of",
    },
  );

  expect(text.match(/half of/g)).toHaveLength(1);
  expect(text).toContain("half of\n… cut off here, and kept\n");
});

test("a tool of the caller is told, with its arguments", () => {
  const text = shown({
    type: "tool.requested",
    ...CALL,
    name: "weather",
    arguments: { city: "Oslo" },
    argumentsHash: HASH,
    replay: "ask",
    deadline: 0,
  });

  expect(text).toContain("? weather is to be run by its owner call_1\n  │ city: Oslo\n");
});

test("a deadline is a clock time and what is left; a day is named when it may not be today", () => {
  const now = new Date(2026, 0, 1, 12, 0).getTime();

  expect(untilText(now + 5 * 60_000, now)).toBe("at 12:05, in 5 min 0 s");
  expect(untilText(now + 24 * 3_600_000, now)).toBe("at 12:00 on 2026-01-02, in 24 h 0 min");
  expect(untilText(now, now)).toBe("now");
});

function shown(...facts: readonly object[]): string {
  let text = "";
  const stdout = {
    write: (piece: string): void => {
      text += piece;
    },
  };
  const view = new LiveView(new Screen({ stdout, stderr: { write: () => true }, style: createStyle(false) }));
  for (const [i, fact] of facts.entries()) view.show({ seq: i + 1, at: 0, ...fact } as SessionEvent);
  return text.replace(/^\n/, "");
}
