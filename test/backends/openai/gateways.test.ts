/** Replies as gateways and servers send them that are not OpenAI: what was streamed is the reply. From public reports, written anew. */
import { describe, expect, test } from "vitest";
import type { StepOutput } from "../../../backends/backend.ts";
import { AnthropicReader } from "../../../backends/copilot/anthropic-stream.ts";
import { ChatReader } from "../../../backends/openai/chat-stream.ts";
import type { ReplyReader } from "../../../backends/openai/reply.ts";
import { ResponsesReader } from "../../../backends/openai/responses-stream.ts";
import { Memory } from "./step-builder.ts";

const CONTEXT = { model: "m", origin: "https://provider.test", apiKey: "sk-secret-of-ours" };

function finished(reader: ReplyReader, events: readonly unknown[], isDone = false): StepOutput {
  for (const event of events) reader.read(event);
  if (isDone) reader.end();
  return reader.finish();
}
const chat = (events: readonly unknown[], isDone = false): StepOutput =>
  finished(new ChatReader(new Memory(), CONTEXT), events, isDone);
const responses = (events: readonly unknown[], isDone = false): StepOutput =>
  finished(new ResponsesReader(new Memory(), CONTEXT), events, isDone);
const anthropic = (events: readonly unknown[]): StepOutput =>
  finished(new AnthropicReader(new Memory(), CONTEXT), events);

const delta = (given: object, finish: unknown = null): object => ({
  choices: [{ index: 0, delta: given, finish_reason: finish }],
});
const STOP = delta({}, "stop");
const calls = (...list: readonly object[]): object => delta({ tool_calls: list });
const fn = (name: string, args: unknown): object => ({ function: { name, arguments: args } });
const bash = (command: string): object => ({ type: "tool_call", name: "bash", arguments: { command } });
const textOf = ({ blocks }: StepOutput): string =>
  blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");

describe("arguments that are an object", () => {
  test.each([
    ["whole", [calls({ index: 0, id: "c", ...fn("bash", { command: "echo" }) })]],
    ["in each piece", [1, 2].map(() => calls({ index: 0, id: "c", ...fn("bash", { command: "echo" }) }))],
    ["in the old form", [delta({ function_call: { name: "bash", arguments: { command: "echo" } } })]],
    ["without an envelope", [calls({ index: 0, id: "c", name: "bash", arguments: { command: "echo" } })]],
  ])("over the Chat Completions wire, %s", (_, events) => {
    expect(chat([...events, delta({}, "tool_calls")]).blocks).toMatchObject([bash("echo")]);
  });

  test("over the Responses wire", () => {
    const item = { id: "fc", type: "function_call", name: "bash", call_id: "c", arguments: { command: "echo" } };
    const done = { type: "response.output_item.done", output_index: 0, item };

    expect(responses([done, { type: "response.completed", response: { output: [item] } }]).blocks).toMatchObject([
      bash("echo"),
    ]);
  });

  test("over Anthropic's wire, at the call's start", () => {
    const start = { type: "tool_use", id: "t", name: "bash", input: { command: "echo" } };

    const { blocks } = anthropic([
      { type: "content_block_start", index: 0, content_block: start },
      { type: "message_stop" },
    ]);

    expect(blocks).toMatchObject([bash("echo")]);
  });
});

test("content that is a list of parts is text and thoughts", () => {
  const parts = [
    delta({ content: [{ type: "thinking", thinking: [{ type: "text", text: "two and two" }] }] }),
    delta({ content: [{ type: "text", text: "It is" }] }),
    delta({ content: " 4." }),
    delta({ content: { type: "text", text: " Yes." } }),
    delta({ content: [{ type: "reference", reference_ids: [1] }, " Indeed."] }),
  ];

  expect(chat([...parts, STOP]).blocks).toMatchObject([
    { type: "thinking", text: "two and two" },
    { type: "text", text: "It is 4. Yes. Indeed." },
  ]);
});

describe("events that a gateway leaves out of the Responses wire", () => {
  const item = { id: "fc", type: "function_call", name: "bash", call_id: "c", arguments: '{"command":"echo"}' };
  const added = { type: "response.output_item.added", output_index: 0, item: { ...item, arguments: "" } };
  const args = {
    type: "response.function_call_arguments.delta",
    output_index: 0,
    item_id: "fc",
    delta: item.arguments,
  };
  const text = (piece: string, more: object = {}): object => ({
    type: "response.output_text.delta",
    delta: piece,
    ...more,
  });
  const completed = (...output: readonly object[]): object => ({ type: "response.completed", response: { output } });
  const generic = { id: "m", type: "message", role: "assistant", content: [{ type: "output_text", text: "" }] };

  test.each([
    ["no end of the item, another one in the response", [added, args, completed(generic)]],
    ["no end of the item, an empty response", [added, args, completed()]],
    [
      "an end of the item without what was streamed",
      [
        added,
        args,
        { type: "response.output_item.done", output_index: 0, item: { ...item, arguments: "" } },
        completed(),
      ],
    ],
    ["the response alone", [completed(item)]],
    [
      "the item behind its pieces, under another name in the response",
      [args, added, completed({ ...item, id: "other" })],
    ],
  ])("%s", (_, events) => {
    expect(responses(events).blocks).toMatchObject([{ ...bash("echo"), providerCallId: "c" }]);
  });

  test.each([
    ["no item", [text("just "), text("text"), completed()]],
    [
      "no numbers, and another name at the end",
      [
        text("just ", { item_id: "a" }),
        text("text", { item_id: "a" }),
        completed({ ...generic, id: "b", content: [{ type: "output_text", text: "just text" }] }),
      ],
    ],
    ["the last word shorter than the parts", [text("just "), text("text"), completed(generic)]],
    ["content that is a text", [completed({ ...generic, content: "just text" })]],
  ])("of a text: %s", (_, events) => {
    expect(textOf(responses(events))).toBe("just text");
  });

  test("a call without arguments that only the response holds is one", () => {
    const bare = { ...item, arguments: "" };

    expect(responses([completed(bare)]).blocks).toMatchObject([{ type: "tool_call", name: "bash", arguments: {} }]);
  });

  test("two calls that all have the same number are two", () => {
    const second = { ...item, id: "fc2", call_id: "d", arguments: '{"command":"two"}' };
    const secondArgs = { ...args, item_id: "fc2", delta: second.arguments };

    const { blocks } = responses([
      added,
      args,
      { ...added, item: { ...second, arguments: "" } },
      secondArgs,
      completed(),
    ]);

    expect(blocks).toMatchObject([bash("echo"), bash("two")]);
  });

  test("a response that says it is incomplete is not whole", () => {
    const cut = { status: "incomplete", incomplete_details: { reason: "max_output_tokens" }, output: [] };

    expect(() => responses([text("half"), { type: "response.completed", response: cut }])).toThrow(
      "limit of output tokens",
    );
  });
});

describe("a stream that ends with [DONE] alone", () => {
  const call = calls({ index: 0, id: "c", ...fn("bash", '{"command":"echo"}') });

  test("is whole when what came is", () => {
    expect(chat([call], true).blocks).toMatchObject([bash("echo")]);
    expect(textOf(chat([delta({ content: "done" })], true))).toBe("done");
    expect(textOf(responses([{ type: "response.output_text.delta", delta: "done" }], true))).toBe("done");
  });

  test("was cut when a call is not at its end", () => {
    const half = calls({ index: 0, id: "c", ...fn("bash", '{"command":"rm -r') });

    expect(() => chat([half], true)).toThrow(expect.objectContaining({ code: "NETWORK" }));
    expect(() => chat([call])).toThrow(expect.objectContaining({ code: "NETWORK" }));
  });
});

describe("a reply that holds nothing", () => {
  test.each([
    ["calls that are not there", [delta({ content: "", tool_calls: [] }), delta({}, "tool_calls")]],
    ["no content", [delta({ content: "" }), STOP]],
    ["space", [delta({ content: " \n" }), STOP]],
    ["thoughts alone", [delta({ reasoning_content: "hm" }), STOP]],
  ])("is told: %s", (_, events) => {
    expect(() => chat(events)).toThrow(expect.objectContaining({ code: "INVALID_RESPONSE", retryable: true }));
  });

  test("is read where it stands in another form", () => {
    const message = { role: "assistant", content: "here it is" };
    const whole = { choices: [{ index: 0, message, finish_reason: "stop" }] };

    expect(textOf(chat([whole]))).toBe("here it is");
    expect(textOf(chat([delta({ content: "here " }), delta({ content: "it is" }), whole]))).toBe("here it is");
    expect(
      chat([
        delta({ function_call: { name: "bash", arguments: '{"comm' } }),
        delta({ function_call: { arguments: 'and":"echo"}' } }),
        delta({}, "function_call"),
      ]).blocks,
    ).toMatchObject([bash("echo")]);
  });
});

describe("calls without a number or an id", () => {
  test.each([
    ["in one chunk", [calls(fn("bash", '{"command":"one"}'), fn("bash", '{"command":"two"}'))]],
    ["one after another", [calls(fn("bash", '{"command":"one"}')), calls(fn("bash", '{"command":"two"}'))]],
    [
      "in pieces",
      [
        calls(fn("bash", '{"command"'), fn("bash", '{"command"')),
        calls({ function: { arguments: ':"one"}' } }, { function: { arguments: ':"two"}' } }),
      ],
    ],
    [
      "all with the same number",
      [
        calls({ index: 0, ...fn("bash", '{"command":"one"}') }),
        calls({ index: 0, ...fn("bash", '{"command":"two"}') }),
      ],
    ],
  ])("%s", (_, events) => {
    expect(chat([...events, delta({}, "tool_calls")]).blocks).toMatchObject([bash("one"), bash("two")]);
  });

  test("empty arguments first and the real ones after them are one call", () => {
    const pieces = [calls({ index: 0, ...fn("bash", "{}") }), calls({ index: 0, ...fn("bash", '{"command":"one"}') })];

    expect(chat([...pieces, delta({}, "tool_calls")]).blocks).toMatchObject([bash("one")]);
  });
});

test("a character whose halves come in two pieces is one, and none of it is shown before", () => {
  const sink = new Memory();
  const reader = new ChatReader(sink, CONTEXT);
  for (const event of [delta({ content: "a\ud83d" }), delta({ content: "\ude00b" }), STOP]) reader.read(event);

  expect(textOf(reader.finish())).toBe("a😀b");
  expect(sink.lines.join("\n").isWellFormed()).toBe(true);
});
