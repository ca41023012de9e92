/** What a step makes of a model's reply, over both wires. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ReplyBlock, TranscriptMessage } from "../../../contract/blocks.ts";
import { anInput, lastBody, Memory, run, scripted, startWorld, WIRES, type World } from "./step-builder.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

/** The conversation goes on: the reply, and a result for each of its calls. */
function answered(blocks: readonly ReplyBlock[]): TranscriptMessage[] {
  const calls = blocks.filter((block) => block.type === "tool_call");
  const results = calls.map(({ callId, providerCallId, name }) => ({
    type: "tool_result" as const,
    ...{ callId, name, outcome: "ok" as const, text: `result of ${name}` },
    ...(providerCallId === undefined ? {} : { providerCallId }),
  }));
  return [
    { role: "assistant", blocks: [...blocks] },
    { role: "tool", blocks: results },
  ];
}

describe.each(WIRES)("over the %s wire", (wire) => {
  test("thinking, text and calls stream in the order in which the model writes them", async () => {
    const sink = new Memory();
    const step = {
      think: "let me see whether",
      text: "I shall look.",
      tools: [{ name: "look", args: { at: "the moon" } }],
    };

    const output = await run(world, anInput({ wire, transcript: [scripted(step)] }), sink);

    expect(sink.lines).toEqual([
      "start 0 thinking",
      "delta 0 let me see w",
      "delta 0 hether",
      "end 0",
      "start 1 text",
      "delta 1 I shall look",
      "delta 1 .",
      "end 1",
      "start 2 tool_call look",
      'delta 2 {"at":"the m',
      'delta 2 oon"}',
      "end 2",
    ]);
    expect(output.blocks).toEqual(sink.blocks);
    expect(output.blocks.map((block) => block.type)).toEqual(["thinking", "text", "tool_call"]);
  });

  test("parallel calls keep their order and each gets an id of ours", async () => {
    const sink = new Memory();
    const tools = ["a", "b", "c"].map((name) => ({ name, args: { name } }));

    const { blocks } = await run(world, anInput({ wire, transcript: [scripted({ tools })] }), sink);

    const calls = blocks.filter((block) => block.type === "tool_call");
    expect(calls.map((call) => [call.name, call.arguments])).toEqual([
      ["a", { name: "a" }],
      ["b", { name: "b" }],
      ["c", { name: "c" }],
    ]);
    expect(new Set(calls.map((call) => call.callId)).size).toBe(3);
    expect(calls.every((call) => /^call_[0-9a-z]{19}$/.test(call.callId))).toBe(true);
    expect(sink.streamed(1)).toBe('{"name":"b"}');
  });

  test.each([
    ["not JSON", "{bad", "{bad"],
    ["a list", "[1]", "[1]"],
    ["null", "null", "null"],
    ["nothing", "", {}],
  ])("arguments that are %s come back as the model wrote them", async (_, rawArgs, expected) => {
    const transcript = [scripted({ tools: [{ name: "look", rawArgs }] })];

    const { blocks } = await run(world, anInput({ wire, transcript }));

    expect(blocks[0]).toMatchObject({ type: "tool_call", name: "look", arguments: expected });
  });

  test("malformed arguments go back to the provider as valid JSON", async () => {
    const first = scripted({ tools: [{ name: "look", rawArgs: "{bad" }] }, { text: "sorry" });
    const { blocks } = await run(world, anInput({ wire, transcript: [first] }));

    await run(world, anInput({ wire, transcript: [first, ...answered(blocks)] }));

    const sent = JSON.stringify(lastBody(world)[wire === "responses" ? "input" : "messages"]);
    expect(sent).toContain(JSON.stringify(JSON.stringify({ malformed_arguments: "{bad" })));
  });

  test("calls and their results go back under ids of ours, which every provider takes and no two calls share", async () => {
    const two = { tools: [{ name: "look" }, { name: "look" }] };
    const first = scripted(two, { text: "seen" });
    const { blocks } = await run(world, anInput({ wire, transcript: [first] }));
    const again = scripted(two, { text: "seen again" });
    const second = await run(world, anInput({ wire, transcript: [again] }));

    const transcript = [first, ...answered(blocks), again, ...answered(second.blocks)];
    const output = await run(world, anInput({ wire, transcript }));

    const body = lastBody(world);
    const sent = (wire === "responses" ? body["input"] : body["messages"]) as Record<string, unknown>[];
    const made = sent.flatMap((item) =>
      wire === "responses"
        ? item["type"] === "function_call"
          ? [item["call_id"]]
          : []
        : ((item["tool_calls"] ?? []) as { readonly id: string }[]).map(({ id }) => id),
    );
    const results = sent.flatMap((item) => item[wire === "responses" ? "call_id" : "tool_call_id"] ?? []);
    expect(made).toHaveLength(4);
    expect(new Set(made).size).toBe(4);
    expect(made.every((id) => /^[0-9A-Za-z]{9}$/.test(String(id)))).toBe(true);
    expect(new Set(results)).toEqual(new Set(made));
    expect(output.blocks).toEqual([{ type: "text", text: "seen again" }]);
  });

  test("usage tells cached and reasoning tokens, and the model as the provider names it", async () => {
    const transcript = [scripted({ text: "ok", usage: { in: 1000, out: 50, cached: 900, reasoning: 20 } })];

    const output = await run(world, anInput({ wire, transcript, agent: { model: "gpt-5-mini" } }));

    expect(output.usage).toEqual({ inputTokens: 1000, outputTokens: 50, cachedTokens: 900, reasoningTokens: 20 });
    expect(output.model).toBe("gpt-5-mini");
  });

  test("an empty reply is told as what it is, and shows nothing", async () => {
    const sink = new Memory();

    const ran = run(world, anInput({ wire, transcript: [scripted({})] }), sink);

    await expect(ran).rejects.toMatchObject({ code: "INVALID_RESPONSE", retryable: true });
    expect(sink.lines).toEqual([]);
  });

  test("a refusal is text, and said to be one", async () => {
    const output = await run(world, anInput({ wire, transcript: [scripted({ refusal: "I cannot help with that." })] }));

    expect(output.blocks).toEqual([{ type: "text", text: "I cannot help with that." }]);
    expect(output.refusal).toBe("I cannot help with that.");
  });

  test("what the sink throws reaches the caller as it is", async () => {
    const lost = new Error("superseded");
    const sink = new Memory();
    sink.blockDelta = () => {
      throw lost;
    };

    const step = run(world, anInput({ wire, transcript: [scripted({ text: "hello" })] }), sink);

    await expect(step).rejects.toBe(lost);
  });
});

test("reasoning travels back to the Responses wire verbatim, and not to the other", async () => {
  const first = scripted({ think: "deep", tools: [{ name: "look" }] }, { text: "done" });
  const { blocks } = await run(world, anInput({ wire: "responses", transcript: [first] }));
  const transcript = [first, ...answered(blocks)];

  await run(world, anInput({ wire: "responses", transcript }));
  const items = lastBody(world)["input"] as Record<string, unknown>[];
  await run(world, anInput({ wire: "chat_completions", transcript }));

  const item = blocks[0]?.type === "thinking" ? blocks[0].opaque?.item : undefined;
  expect(items[1]).toEqual(item);
  expect(items[1]).toMatchObject({ type: "reasoning", encrypted_content: expect.any(String) });
  expect(JSON.stringify(lastBody(world))).not.toContain("encrypted");
});

test("reasoning without its encrypted content, or with nothing after it, is not sent back", async () => {
  const bare = {
    type: "thinking" as const,
    text: "x",
    opaque: { backend: "openai", item: { type: "reasoning", id: "rs_1" } },
  };
  const item = { type: "reasoning", id: "rs_2", summary: [], encrypted_content: "c2VjcmV0" };
  const last = { type: "thinking" as const, text: "y", opaque: { backend: "openai", item } };
  const transcript: TranscriptMessage[] = [
    { role: "assistant", blocks: [bare, { type: "text", text: "one" }, last] },
    scripted({ text: "ok" }),
  ];

  await run(world, anInput({ wire: "responses", transcript }));

  const sent = lastBody(world)["input"] as Record<string, unknown>[];
  expect(sent.map((one) => one["type"] ?? one["role"])).toEqual(["message", "user"]);
});
