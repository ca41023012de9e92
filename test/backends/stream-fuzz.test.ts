/** Good streams of each wire with one thing wrong in them: what was streamed is in the reply, or there is none, and nothing of ours throws. */
import { expect, test } from "vitest";
import { BackendError } from "../../backends/backend.ts";
import { AnthropicReader } from "../../backends/copilot/anthropic-stream.ts";
import { ChatReader } from "../../backends/openai/chat-stream.ts";
import type { ReplyReader } from "../../backends/openai/reply.ts";
import { ResponsesReader } from "../../backends/openai/responses-stream.ts";
import { ServerSentReader } from "../../backends/server-sent.ts";
import { Memory } from "./openai/step-builder.ts";

const CONTEXT = { model: "m", origin: "https://provider.test", apiKey: "sk-secret-of-ours" };
type Event = Readonly<Record<string, unknown>>;

/** Each piece has a word of its own, so that one that is missing can be named. */
const word = (name: string): string => `<${name}word>`;
const ARGUMENTS = ['{"com', `mand":"${word("first")}`, `${word("second")}`, '"}'];

const chat = (delta: object, finish: string | null = null): Event => ({
  id: "c",
  object: "chat.completion.chunk",
  model: "m",
  choices: [{ index: 0, delta, finish_reason: finish }],
});
const chatCall = (index: number, name: string): readonly Event[] => [
  chat({ tool_calls: [{ index, id: `call_${index}`, type: "function", function: { name, arguments: "" } }] }),
  ...ARGUMENTS.map((piece) =>
    chat({ tool_calls: [{ index, function: { arguments: piece.replaceAll("word", `word${index}`) } }] }),
  ),
];
const CHAT: readonly Event[] = [
  chat({ role: "assistant", content: "" }),
  ...["think", "muse"].map((name) => chat({ reasoning_content: word(name) })),
  ...["alpha", "beta", "gamma"].map((name) => chat({ content: word(name) })),
  ...chatCall(0, "look"),
  ...chatCall(1, "bash"),
  chat({}, "tool_calls"),
  { id: "c", model: "m", choices: [], usage: { prompt_tokens: 9, completion_tokens: 4 } },
];

const said = ["alpha", "beta", "gamma"].map(word);
const message = {
  id: "msg",
  type: "message",
  role: "assistant",
  content: [{ type: "output_text", text: said.join("") }],
};
const callItem = (index: number): Event => ({
  id: `fc_${index}`,
  type: "function_call",
  name: "look",
  call_id: `call_${index}`,
  arguments: ARGUMENTS.join("").replaceAll("word", `word${index}`),
});
const responseCall = (index: number): readonly Event[] => [
  { type: "response.output_item.added", output_index: index, item: { ...callItem(index), arguments: "" } },
  ...ARGUMENTS.map((piece) => ({
    type: "response.function_call_arguments.delta",
    item_id: `fc_${index}`,
    output_index: index,
    delta: piece.replaceAll("word", `word${index}`),
  })),
  { type: "response.output_item.done", output_index: index, item: callItem(index) },
];
const RESPONSES: readonly Event[] = [
  { type: "response.created", response: { id: "r", model: "m", status: "in_progress", output: [] } },
  { type: "response.output_item.added", output_index: 0, item: { ...message, content: [] } },
  ...said.map((delta) => ({
    type: "response.output_text.delta",
    item_id: "msg",
    output_index: 0,
    content_index: 0,
    delta,
  })),
  { type: "response.output_item.done", output_index: 0, item: message },
  ...responseCall(1),
  ...responseCall(2),
  {
    type: "response.completed",
    response: {
      id: "r",
      model: "m",
      status: "completed",
      output: [message, callItem(1), callItem(2)],
      usage: { input_tokens: 9, output_tokens: 4 },
    },
  },
];

const block = (index: number, content: object, deltas: readonly object[]): readonly Event[] => [
  { type: "content_block_start", index, content_block: content },
  ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
  { type: "content_block_stop", index },
];
const ANTHROPIC: readonly Event[] = [
  { type: "message_start", message: { model: "m", usage: { input_tokens: 9, output_tokens: 1 } } },
  ...block(0, { type: "thinking", thinking: "" }, [{ type: "thinking_delta", thinking: word("think") }]),
  ...block(
    1,
    { type: "text", text: "" },
    said.map((text) => ({ type: "text_delta", text })),
  ),
  ...[2, 3].flatMap((index) =>
    block(
      index,
      { type: "tool_use", id: `toolu_${index}`, name: "look", input: {} },
      ARGUMENTS.map((piece) => ({ type: "input_json_delta", partial_json: piece.replaceAll("word", `word${index}`) })),
    ),
  ),
  { type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 4 } },
  { type: "message_stop" },
];

interface Broken {
  readonly what: string;
  readonly events: readonly unknown[];
  /** Whose words need not be in the reply. */
  readonly spoilt: unknown;
}

const VALUES = [null, 7, true, "x", [], {}, [{}], { a: 1 }];

/** Every stream with one event, or one field of one event, that is not as it should be. */
function* broken(events: readonly Event[]): Generator<Broken> {
  for (const [at, event] of events.entries()) {
    const [before, after] = [events.slice(0, at), events.slice(at + 1)];
    const made = (what: string, put: readonly unknown[], spoilt: unknown = {}): Broken => ({
      what: `event ${at} ${what}`,
      events: [...before, ...put],
      spoilt,
    });
    yield made("is left out", after);
    yield made("comes twice", [event, event, ...after]);
    yield made("comes late", after[0] ? [after[0], event, ...after.slice(1)] : [event]);
    yield made("comes last", [...after, event]);
    for (const value of VALUES) yield made(`is ${JSON.stringify(value)}`, [value, ...after], event);
    for (const path of pathsOf(event)) {
      const named = path.join(".");
      for (const value of VALUES) {
        const changed = changedAt(event, path, { value });
        yield made(`has ${JSON.stringify(value)} as ${named}`, [changed, ...after], event);
      }
      yield made(`has no ${named}`, [changedAt(event, path, {}), ...after], event);
      yield made(`has another name for ${named}`, [changedAt(event, path, { rename: true }), ...after], event);
    }
  }
}

function pathsOf(value: unknown, path: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [[...path, key], ...pathsOf(inner, [...path, key])]);
}

function changedAt(event: unknown, path: readonly string[], change: { value?: unknown; rename?: true }): unknown {
  const copy = structuredClone(event) as Record<string, unknown>;
  let parent = copy;
  for (const key of path.slice(0, -1)) parent = parent[key] as Record<string, unknown>;
  const key = path.at(-1) ?? "";
  const before = parent[key];
  if (Object.hasOwn(change, "value")) parent[key] = change.value;
  else delete parent[key];
  if (change.rename) parent[`${key}_of_another_name`] = before;
  return copy;
}

const wordsIn = (value: unknown): readonly string[] => JSON.stringify(value ?? null).match(/<[a-z]+word\d?>/g) ?? [];

/** What the reply holds; undefined when the stream was refused. */
function read(reader: ReplyReader, { events }: Broken, end: string): unknown {
  const stream = new ServerSentReader();
  const text = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("") + end;
  try {
    for (const event of [...stream.read(Buffer.from(text)), ...stream.end()]) {
      reader.read(event);
      const failure = reader.failure();
      if (failure !== undefined) throw failure;
    }
    if (stream.isDone) reader.end();
    return reader.finish().blocks;
  } catch (error) {
    expect(error).toBeInstanceOf(BackendError);
    return undefined;
  }
}

test.each([
  ["chat_completions", CHAT, () => new ChatReader(new Memory(), CONTEXT)],
  ["responses", RESPONSES, () => new ResponsesReader(new Memory(), CONTEXT)],
  ["anthropic", ANTHROPIC, () => new AnthropicReader(new Memory(), CONTEXT)],
] as const)("a reply over the %s wire is whole, or there is none", (_, good, reader) => {
  const wrong: string[] = [];
  let [streams, replies] = [0, 0];
  for (const end of ["data: [DONE]\n\n", ""]) {
    for (const one of broken(good)) {
      streams += 1;
      const blocks = read(reader(), one, end);
      if (blocks === undefined) continue;
      replies += 1;
      const spoilt = wordsIn(one.spoilt);
      const has = new Set(wordsIn(blocks));
      const missing = wordsIn(one.events).filter((each) => !has.has(each) && !spoilt.includes(each));
      if (missing.length > 0) wrong.push(`${one.what}: ${[...new Set(missing)].join(" ")}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(streams).toBeGreaterThan(1_000);
  expect(replies).toBeGreaterThan(streams / 2);
});
