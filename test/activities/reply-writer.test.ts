/** A streaming reply becomes facts in its order: soon for the first token, few for many, none lost and none after a gap. */
import { expect, test, vi } from "vitest";
import { ReplyWriter } from "../../activities/reply-writer.ts";
import type { Fact } from "../../contract/events.ts";
import { LIMITS } from "../../contract/limits.ts";

const PLACE = { turnId: "turn_1", step: 3 } as const;
const textOf = (facts: readonly Fact[], index = 0): string =>
  facts.flatMap((fact) => (fact.type === "block.delta" && fact.index === index ? [fact.text] : [])).join("");
const typesOf = (facts: readonly Fact[]): readonly string[] => facts.map((fact) => fact.type);

/** A writer whose facts are kept, batch by batch. */
function aWriter(publish: (facts: readonly Fact[]) => Promise<void> = async () => {}) {
  const batches: (readonly Fact[])[] = [];
  const losses: unknown[] = [];
  const writer = new ReplyWriter(
    PLACE,
    async (facts) => {
      await publish(facts);
      batches.push(facts);
    },
    (error) => losses.push(error),
  );
  return { writer, batches, losses, published: () => batches.flat() };
}

test("the first token is published at once, and what follows in a burst is one delta", async () => {
  const { writer, batches, published } = aWriter();
  writer.blockStarted(0, { type: "text" });
  writer.blockDelta(0, "He");
  await vi.waitFor(() => expect(textOf(published())).toBe("He"));

  for (const letter of "llo, world") writer.blockDelta(0, letter);
  await vi.waitFor(() => expect(textOf(published())).toBe("Hello, world"));

  expect(batches.map(typesOf)).toEqual([["block.started", "block.delta"], ["block.delta"]]);
  await writer.end();
});

test("a reply that comes all at once is one batch, or none: it is left to the caller's commit", async () => {
  const { writer, batches } = aWriter();
  writer.blockStarted(0, { type: "text" });
  writer.blockDelta(0, "hello");
  writer.blockCompleted(0, { type: "text", text: "hello" });

  const rest = await writer.end();

  expect(batches).toEqual([]);
  expect(rest).toEqual([
    { type: "block.started", ...PLACE, index: 0, block: { type: "text" } },
    { type: "block.delta", ...PLACE, index: 0, text: "hello" },
    { type: "block.completed", ...PLACE, index: 0, block: { type: "text", text: "hello" } },
  ]);
  expect(await writer.end()).toEqual([]);
});

test("what was not published when the reply ended is the rest, and the timer publishes nothing after it", async () => {
  const { writer, published } = aWriter();
  writer.blockDelta(0, "a");
  await vi.waitFor(() => expect(published()).toHaveLength(1));
  writer.blockDelta(0, "b");

  const rest = await writer.end();
  writer.blockDelta(0, "late");
  writer.blockCompleted(0, { type: "text", text: "late" });
  await new Promise((resolve) => setTimeout(resolve, LIMITS.deltaEveryMs * 2)); // Time in which a left timer would fire.

  expect(textOf(rest)).toBe("b");
  expect(textOf(published())).toBe("a");
});

test("a block's text is published at once when there is a delta's worth of it", async () => {
  const { writer, published } = aWriter();
  writer.blockDelta(0, "x".repeat(LIMITS.deltaBytes));
  await Promise.resolve();
  await Promise.resolve();

  expect(textOf(published())).toHaveLength(LIMITS.deltaBytes);
  await writer.end();
});

test("blocks that overlap keep the order in which things came", async () => {
  const { writer } = aWriter();
  writer.blockStarted(0, { type: "tool_call", callId: "call_a", name: "bash" });
  writer.blockDelta(0, "a1");
  writer.blockStarted(1, { type: "tool_call", callId: "call_b", name: "grep" });
  writer.blockDelta(1, "b1");
  writer.blockDelta(0, "a2");
  writer.blockCompleted(0, { type: "tool_call", callId: "call_a", name: "bash", arguments: {} });
  writer.blockCompleted(1, { type: "tool_call", callId: "call_b", name: "grep", arguments: {} });

  const said = (await writer.end()).map((fact) =>
    "text" in fact ? fact.text : `${fact.type} ${Reflect.get(fact, "index")}`,
  );

  expect(said).toEqual([
    "block.started 0",
    "a1",
    "block.started 1",
    "b1",
    "a2",
    "block.completed 0",
    "block.completed 1",
  ]);
});

test("an empty delta is none", async () => {
  const { writer } = aWriter();
  writer.blockDelta(0, "");

  expect(await writer.end()).toEqual([]);
});

test("what a provider wants back verbatim is not shown", async () => {
  const { writer } = aWriter();
  writer.blockCompleted(0, { type: "thinking", text: "hm", opaque: { backend: "openai", item: "encrypted" } });

  const [fact] = await writer.end();

  expect(fact).toMatchObject({ block: { type: "thinking", text: "hm" } });
  expect(JSON.stringify(fact)).not.toContain("encrypted");
});

test("a publish that fails is told once, nothing is published after it, and the end fails with it", async () => {
  const error = new Error("locked");
  let tries = 0;
  const { writer, losses, published } = aWriter(async () => {
    tries++;
    throw error;
  });

  for (let i = 0; i < 5; i++) writer.blockDelta(0, "x".repeat(LIMITS.deltaBytes));
  await vi.waitFor(() => expect(losses).toEqual([error]));
  writer.blockDelta(0, "x".repeat(LIMITS.deltaBytes));
  writer.blockCompleted(0, { type: "text", text: "x" });

  await expect(writer.end()).rejects.toBe(error);
  expect(losses).toEqual([error]);
  expect(tries).toBe(1);
  expect(published()).toEqual([]);
});

test("a publish that fails while the reply ends fails the end: what follows would stand behind a gap", async () => {
  const error = new Error("full");
  const { writer, losses } = aWriter(() => Promise.reject(error));
  writer.blockDelta(0, "x".repeat(LIMITS.deltaBytes));
  writer.blockCompleted(0, { type: "text", text: "x" });

  await expect(writer.end()).rejects.toBe(error);

  expect(losses).toEqual([error]);
});

test("batches are written one after another, in order, however slow the store is", async () => {
  let active = 0;
  const { writer, published } = aWriter(async () => {
    expect(++active).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    active--;
  });
  const wanted = Array.from({ length: 40 }, (_, i) => String.fromCharCode(65 + (i % 26)).repeat(LIMITS.deltaBytes));
  for (const text of wanted) writer.blockDelta(0, text);

  const rest = await writer.end();

  expect(textOf([...published(), ...rest])).toBe(wanted.join(""));
});

test("whatever the pieces and pauses, the joined deltas are the block's text", async () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed % below;
  };
  for (let round = 0; round < 15; round++) {
    const { writer, published } = aWriter();
    const texts = ["", ""];
    for (let piece = 0; piece < 200; piece++) {
      const index = random(2);
      const text = ["a", "😀".slice(0, 1), "\n", "x".repeat(random(400)), ""][random(5)] ?? "";
      texts[index] += text;
      writer.blockDelta(index, text);
      if (random(40) === 0) await new Promise((resolve) => setTimeout(resolve, random(4)));
    }
    const rest = await writer.end();
    const all = [...published(), ...rest];

    expect(textOf(all, 0)).toBe(texts[0]);
    expect(textOf(all, 1)).toBe(texts[1]);
  }
});
