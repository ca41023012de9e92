/** A tool's output becomes few events in order, each with how far it reaches, and none after a gap. */
import { expect, test, vi } from "vitest";
import { OutputPublisher } from "../../activities/output-publisher.ts";
import type { Fact } from "../../contract/events.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { SpoolOffsets } from "../../store/offsets.ts";

const PLACE = { turnId: "turn_1", step: 1, callId: "call_1" } as const;
interface Output {
  readonly facts: readonly Fact[];
  readonly upTo: SpoolOffsets;
}
const said = (facts: readonly Fact[]): readonly string[] =>
  facts.flatMap((fact) => (fact.type === "tool.output" ? [`${fact.stream}: ${fact.text}`] : []));

function aPublisher(publish: (output: Output) => Promise<void> = async () => {}) {
  const outputs: Output[] = [];
  const losses: unknown[] = [];
  const publisher = new OutputPublisher(
    PLACE,
    async (output) => {
      await publish(output);
      outputs.push(output);
    },
    (error) => losses.push(error),
  );
  const add = (text: string, stdout: number) => publisher.add("stdout", text, { stdout, stderr: 0 });
  return { publisher, outputs, losses, add };
}

test("output that comes and ends at once is left to the caller's commit", async () => {
  const { publisher, outputs, add } = aPublisher();
  add("a", 1);
  add("b", 2);

  expect(await publisher.end()).toEqual([{ type: "tool.output", ...PLACE, stream: "stdout", text: "ab" }]);
  expect(outputs).toEqual([]);
});

test("pieces of one stream are one event, and the streams keep the order in which they came", async () => {
  const { publisher } = aPublisher();
  publisher.add("stdout", "a", { stdout: 1, stderr: 0 });
  publisher.add("stdout", "b", { stdout: 2, stderr: 0 });
  publisher.add("stderr", "!", { stdout: 2, stderr: 1 });
  publisher.add("stdout", "c", { stdout: 3, stderr: 1 });

  expect(said(await publisher.end())).toEqual(["stdout: ab", "stderr: !", "stdout: c"]);
});

test("output is published while the tool runs, with how far it reaches", async () => {
  const { publisher, outputs, add } = aPublisher();
  add("a", 1);
  await vi.waitFor(() => expect(outputs).toHaveLength(1));
  publisher.add("stderr", "b", { stdout: 1, stderr: 1 });
  await vi.waitFor(() => expect(outputs).toHaveLength(2));

  expect(outputs.map(({ upTo }) => upTo)).toEqual([
    { stdout: 1, stderr: 0 },
    { stdout: 1, stderr: 1 },
  ]);
  expect(await publisher.end()).toEqual([]);
});

test("an event's worth of output does not wait", async () => {
  const { publisher, outputs, add } = aPublisher();
  add("x".repeat(LIMITS.outputEventBytes), LIMITS.outputEventBytes);
  await Promise.resolve();
  await Promise.resolve();

  expect(outputs).toHaveLength(1);
  expect(await publisher.end()).toEqual([]);
});

test("bytes that gave no text yet still move the position on", async () => {
  const { publisher, outputs, add } = aPublisher();
  add("", 2); // The first half of a character.

  await vi.waitFor(() => expect(outputs).toEqual([{ facts: [], upTo: { stdout: 2, stderr: 0 } }]));
  expect(await publisher.end()).toEqual([]);
});

test("nothing is added or published after the end", async () => {
  const { publisher, outputs, add } = aPublisher();
  add("a", 1);
  await publisher.end();
  add("late", 5);
  await new Promise((resolve) => setTimeout(resolve, LIMITS.outputEveryMs + 20)); // Time in which a left timer would fire.

  expect(outputs).toEqual([]);
  expect(await publisher.end()).toEqual([]);
});

test("a publish that fails is told once, nothing is published after it, and the end fails with it", async () => {
  const error = new Error("another attempt has taken over");
  let tries = 0;
  const { publisher, losses, add } = aPublisher(() => {
    tries++;
    return Promise.reject(error);
  });
  const text = "x".repeat(LIMITS.outputEventBytes);
  for (let i = 1; i <= 4; i++) add(text, i * text.length);
  await vi.waitFor(() => expect(losses).toEqual([error]));
  add(text, 9 * text.length);

  await expect(publisher.end()).rejects.toBe(error);
  expect(losses).toEqual([error]);
  expect(tries).toBe(1);
});

test("a publisher that is disposed of leaves no timer and publishes nothing", async () => {
  const { publisher, outputs, add } = aPublisher();
  add("a", 1);
  publisher[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, LIMITS.outputEveryMs));

  expect(outputs).toEqual([]);
});

test("whatever the pieces and pauses, each batch reaches exactly as far as its text, and nothing is lost", async () => {
  const { publisher, outputs, add } = aPublisher(() => new Promise((resolve) => setImmediate(resolve)));
  let all = "";
  for (let i = 0; i < 300; i++) {
    const text = String.fromCharCode(97 + (i % 26)).repeat((i * 37) % 900);
    all += text;
    add(text, all.length);
    if (i % 60 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
  }
  const rest = await publisher.end();

  let reached = "";
  for (const { facts, upTo } of outputs) {
    reached += facts.map((fact) => (fact.type === "tool.output" ? fact.text : "")).join("");
    expect(reached).toHaveLength(upTo.stdout);
  }
  expect(reached + rest.map((fact) => (fact.type === "tool.output" ? fact.text : "")).join("")).toBe(all);
});
