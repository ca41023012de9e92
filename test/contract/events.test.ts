/** Every event that was ever shipped still parses, and means what it meant: samples are added here, never changed. */
import { expect, test } from "vitest";
import { z } from "zod";
import { Fact, SessionEvent, TURN_ENDS } from "../../contract/events.ts";
import samples from "./samples.json" with { type: "json" };

const types: readonly string[] = Fact.options.map((option) => option.shape.type.value);

test.for(samples.map((sample) => [`${sample.seq} ${sample.type}`, sample] as const))(
  "sample %s parses to itself, with nothing dropped and nothing added",
  ([, sample]) => {
    expect(SessionEvent.parse(sample)).toEqual(sample);
  },
);

test("every type of event has a sample", () => {
  const sampled = new Set(samples.map((sample) => sample.type));

  expect(types.filter((type) => !sampled.has(type))).toEqual([]);
});

test("an event of an unknown type, without a place, or in an impossible one is refused", () => {
  const [, , closed] = samples;
  const { seq: _, ...noSeq } = closed ?? {};

  for (const wrong of [
    { ...closed, type: "session.exploded" },
    { ...closed, type: undefined },
    noSeq,
    { ...closed, seq: 0 },
    { ...closed, seq: 1.5 },
    { ...closed, at: "now" },
  ]) {
    expect(SessionEvent.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
  }
});

test("a fact with a wrong or missing field is refused", () => {
  const refused: Record<string, unknown>[] = [
    { type: "step.restarted", turnId: "turn_1", step: 1, attempt: 1 },
    { type: "step.started", turnId: "turn_1", step: 0 },
    { type: "step.started", turnId: "call_1", step: 1 },
    { type: "turn.interrupted", turnId: "turn_1", steps: 1, durationMs: 1, reason: "bored", usage: {} },
    { type: "turn.failed", turnId: "turn_1", code: "OOPS", message: "m", retryable: true },
    { type: "tool.output", turnId: "turn_1", step: 1, callId: "call_1", stream: "stdin", text: "" },
    {
      type: "artifact.uploaded",
      turnId: "turn_1",
      artifactId: "art_1",
      path: "p",
      bytes: -1,
      sha256: "",
      contentType: "",
    },
  ];
  for (const fact of refused) expect(Fact.safeParse(fact).success, JSON.stringify(fact)).toBe(false);
});

test("types are a noun and a participle, and all ends of a turn are known as ends", () => {
  for (const type of types) expect(type).toMatch(/^([a-z]+\.[a-z]+|error)$/);

  const ends = types.filter((type) => /^turn\.(?!started)/.test(type));
  expect([...TURN_ENDS].sort()).toEqual(ends.sort());
});

test("the events can be told to clients as a JSON schema", () => {
  const schema = z.toJSONSchema(SessionEvent, { unrepresentable: "throw" });

  expect(JSON.stringify(schema)).toContain("step.restarted");
});
