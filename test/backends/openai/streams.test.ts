/** What servers and gateways put into a stream that no description of its wire has. */
import { describe, expect, test } from "vitest";
import { ChatReader } from "../../../backends/openai/chat-stream.ts";
import { ResponsesReader } from "../../../backends/openai/responses-stream.ts";
import { Memory } from "./step-builder.ts";

const CONTEXT = { model: "m", origin: "https://provider.test", apiKey: "sk-secret-of-ours" };
const OVERFLOW = { message: "it is too long, sk-secret-of-ours", code: "context_length_exceeded", type: "x" };

function chat(...chunks: unknown[]): ChatReader {
  const reader = new ChatReader(new Memory(), CONTEXT);
  for (const chunk of chunks) reader.read(chunk);
  return reader;
}

function responses(...events: unknown[]): ResponsesReader {
  const reader = new ResponsesReader(new Memory(), CONTEXT);
  for (const event of events) reader.read(event);
  return reader;
}

const delta = (given: object, finish: string | null = null): unknown => ({
  choices: [{ index: 0, delta: given, finish_reason: finish }],
});
const piece = (id: string, name: string | undefined, args: string): unknown =>
  delta({ tool_calls: [{ index: 0, id, function: { ...(name === undefined ? {} : { name }), arguments: args } }] });

describe("an error in the middle of a stream keeps its code and its words", () => {
  test.each([
    ["a chunk", () => chat(delta({ content: "a" }), { error: OVERFLOW })],
    ["an event of its own type", () => responses({ type: "error", error: OVERFLOW })],
    ["an event of its own type, flat", () => responses({ ...OVERFLOW, type: "error" })],
    ["an event of no type", () => responses({ error: OVERFLOW })],
  ])("%s", (_, read) => {
    const failure = read().failure();

    expect(failure).toMatchObject({ code: "CONTEXT_OVERFLOW", retryable: false });
    expect(failure?.message).toContain("it is too long, [key]");
  });

  test("also as a status, or as a text", () => {
    expect(chat({ error: { code: 503, message: "later" } }).failure()?.code).toBe("MODEL_OVERLOADED");
    expect(chat({ error: "out of order" }).failure()?.message).toContain("out of order");
  });
});

test.each([
  ["error", "PROVIDER_ERROR"],
  ["insufficient_system_resource", "MODEL_OVERLOADED"],
])("a reply that ended for %s is not whole, and is tried again", (reason, code) => {
  const reader = chat(delta({ content: "half of" }), delta({}, reason));

  expect(() => reader.finish()).toThrow(expect.objectContaining({ code, retryable: true }));
});

test("a call whose pieces have an id each is one call; a new id with a name is another", () => {
  const pieces = [piece("a", "look", ""), piece("b", undefined, '{"at":'), piece("c", undefined, "1}")];

  const { blocks } = chat(...pieces, piece("d", "look", "{}"), delta({}, "tool_calls")).finish();

  expect(blocks).toMatchObject([
    { name: "look", arguments: { at: 1 }, providerCallId: "a" },
    { name: "look", arguments: {}, providerCallId: "d" },
  ]);
});

test("a count of tokens that cannot be true is none", () => {
  const usage = { prompt_tokens: 1e30, completion_tokens: -3 };

  expect(chat(delta({ content: "a" }, "stop"), { choices: [], usage }).finish().usage).toMatchObject({
    inputTokens: 0,
    outputTokens: 0,
  });
});

describe("a reply that was cut at its limit has cost what the provider says", () => {
  const counted = { inputTokens: 9, outputTokens: 4, cachedTokens: 0, reasoningTokens: 0 };

  test("over the Chat Completions wire, where the count comes last", () => {
    const reader = chat(delta({}, "length"), { choices: [], usage: { prompt_tokens: 9, completion_tokens: 4 } });

    expect(() => reader.finish()).toThrow(expect.objectContaining({ code: "INVALID_RESPONSE", usage: counted }));
  });

  test("over the Responses wire", () => {
    const response = {
      incomplete_details: { reason: "max_output_tokens" },
      usage: { input_tokens: 9, output_tokens: 4 },
    };
    const reader = responses({ type: "response.incomplete", response });

    expect(() => reader.finish()).toThrow(expect.objectContaining({ code: "INVALID_RESPONSE", usage: counted }));
  });
});
