/** Anthropic's stream, event by event, and the bytes that carry it. */
import { describe, expect, test } from "vitest";
import { AnthropicReader } from "../../../backends/copilot/anthropic-stream.ts";
import { ServerSentReader } from "../../../backends/server-sent.ts";
import { LIMITS } from "../../../contract/limits.ts";
import { Memory } from "../openai/step-builder.ts";

const CONTEXT = { model: "m", origin: "https://provider.test", apiKey: "sk-secret" };
const START = { type: "message_start", message: { model: "claude", usage: { input_tokens: 10, output_tokens: 1 } } };
const STOP = { type: "message_stop" };
const ended = (reason: string): unknown => ({
  type: "message_delta",
  delta: { stop_reason: reason },
  usage: { output_tokens: 5 },
});
const text = (index: number, words: string): unknown[] => [
  { type: "content_block_start", index, content_block: { type: "text", text: "" } },
  { type: "content_block_delta", index, delta: { type: "text_delta", text: words } },
  { type: "content_block_stop", index },
];

function read(...events: unknown[]): AnthropicReader {
  const reader = new AnthropicReader(new Memory(), CONTEXT);
  for (const event of events) reader.read(event);
  return reader;
}

describe("a stream of Anthropic's", () => {
  test("counts what was read from the cache as input, as the other wires do", () => {
    const usage = { input_tokens: 10, cache_read_input_tokens: 30, cache_creation_input_tokens: 2 };
    const start = { type: "message_start", message: { model: "claude", usage } };

    const output = read(start, ...text(0, "a"), ended("end_turn"), STOP).finish();

    expect(output.usage).toEqual({ inputTokens: 42, outputTokens: 5, cachedTokens: 30, reasoningTokens: 0 });
    expect(output.model).toBe("claude");
  });

  test.each([
    ["before its end", [START, ...text(0, "a")]],
    ["before its block is at its end", [START, ...text(0, "a").slice(0, -1)]],
  ])("that ends %s was cut", (_, events) => {
    expect(() => read(...events).finish()).toThrow(expect.objectContaining({ code: "NETWORK" }));
  });

  test.each([
    ["does not say why it ended", [START, ...text(0, "a"), STOP]],
    ["has no last event", [START, ...text(0, "a"), ended("end_turn")]],
  ])("that %s is whole, as some gateways leave one of the two out", (_, events) => {
    expect(read(...events).finish().blocks).toEqual([{ type: "text", text: "a" }]);
  });

  test.each([
    ["max_tokens", "INVALID_RESPONSE"],
    ["model_context_window_exceeded", "CONTEXT_OVERFLOW"],
  ])("that ended for %s is %s", (reason, code) => {
    expect(() => read(START, ...text(0, "a"), ended(reason), STOP).finish()).toThrow(expect.objectContaining({ code }));
  });

  test.each([
    ["overloaded_error", "MODEL_OVERLOADED", true],
    ["rate_limit_error", "RATE_LIMIT", true],
    ["api_error", "PROVIDER_ERROR", true],
    ["invalid_request_error", "INVALID_INPUT", false],
  ])("that holds an error of type %s is %s", (type, code, retryable) => {
    const failure = read(START, { type: "error", error: { type, message: "so it is" } }).failure();

    expect(failure).toMatchObject({ code, retryable });
    expect(failure?.message).toContain("so it is");
  });

  test("that was refused holds the words as a refusal", () => {
    const output = read(START, ...text(0, "I will not"), ended("refusal"), STOP).finish();

    expect(output.refusal).toBe("I will not");
  });

  test("with kinds of events and blocks that are not known keeps those that are", () => {
    const unknown = [
      { type: "ping" },
      { type: "content_block_start", index: 0, content_block: { type: "redacted_thinking", data: "x" } },
      { type: "content_block_stop", index: 0 },
      { type: "something_new" },
    ];

    const { blocks } = read(START, ...unknown, ...text(1, "a"), ended("end_turn"), STOP).finish();

    expect(blocks).toEqual([{ type: "text", text: "a" }]);
  });
});

test("a call whose arguments come with its start has them; its deltas count for more", () => {
  const call = (index: number, input: object): unknown => ({
    type: "content_block_start",
    index,
    content_block: { type: "tool_use", id: `c${index}`, name: "look", input },
  });
  const args = { type: "content_block_delta", index: 1, delta: { type: "input_json_delta", partial_json: '{"at":2}' } };
  const stops = [0, 1, 2].map((index) => ({ type: "content_block_stop", index }));

  const calls = [call(0, { at: 1 }), call(1, { at: 0 }), args, call(2, {}), ...stops];
  const { blocks } = read(START, ...calls, ended("tool_use"), STOP).finish();

  expect(blocks.map((block) => block.type === "tool_call" && block.arguments)).toEqual([{ at: 1 }, { at: 2 }, {}]);
});

describe("server-sent events", () => {
  const whole = 'event: a\r\ndata: {"n":1}\r\n\r\n: note\n\ndata: {"t":\ndata: "ü"}\n\ndata: [DONE]\n\ndata: {"n":3}';

  test("are the same however their bytes are cut", () => {
    const bytes = Buffer.from(whole);
    for (let size = 1; size < bytes.length; size++) {
      const reader = new ServerSentReader();
      const found: unknown[] = [];
      for (let at = 0; at < bytes.length; at += size) found.push(...reader.read(bytes.subarray(at, at + size)));
      found.push(...reader.end());

      expect(found).toEqual([{ n: 1 }, { t: "ü" }, { n: 3 }]);
    }
  });

  test("without data say nothing, and a mark before the first is no part of it", () => {
    const reader = new ServerSentReader();

    const found = [...reader.read(Buffer.from('\ufeffdata: {"n":1}\n\ndata:\n\ndata: \n\ndata:[DONE]\n\n'))];

    expect(found).toEqual([{ n: 1 }]);
    expect(reader.isDone).toBe(true);
  });

  test("that are cut at the end are none, and what is neither object nor list is none", () => {
    const reader = new ServerSentReader();

    const found = [
      ...reader.read(Buffer.from('data: null\n\ndata: 5\n\ndata: {"n":1}\n\ndata: {"n"')),
      ...reader.end(),
    ];

    expect(found).toEqual([{ n: 1 }]);
  });

  test.each([
    ["a line", "z"],
    ["lines of data", "data: z\n"],
  ])("%s without an end is refused, and is no work until then", (_, words) => {
    const reader = new ServerSentReader();
    const bytes = Buffer.from(words.repeat(Math.ceil(LIMITS.replyCharactersMax / 400 / words.length)));
    const readAll = (): void => {
      for (let i = 0; i <= 400; i++) expect([...reader.read(bytes)]).toEqual([]);
    };

    expect(readAll).toThrow(expect.objectContaining({ code: "INVALID_RESPONSE" }));
  });

  test("that hold no JSON are an error", () => {
    expect(() => [...new ServerSentReader().read(Buffer.from("data: {oops\n\n"))]).toThrow(SyntaxError);
  });
});
