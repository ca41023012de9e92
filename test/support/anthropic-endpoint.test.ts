/** The scripted endpoint speaks Anthropic's Messages wire, and stands at the same place of a script as on the others. */
import { expect, test } from "vitest";
import { type ModelEndpoint, type ScriptStep, startModelEndpoint } from "./model-endpoint.ts";
import { linesOf, readConversation } from "./seen-conversation.ts";

type Json = Record<string, unknown>;

const script = (...steps: ScriptStep[]): string => `@@SCRIPT${JSON.stringify(steps)}@@`;
const user = (...texts: string[]): Json => ({ role: "user", content: texts.map((text) => ({ type: "text", text })) });
const call = (id: string, result = "seen"): Json[] => [
  { role: "assistant", content: [{ type: "tool_use", id, name: "look", input: { at: id } }] },
  { role: "user", content: [{ type: "tool_result", tool_use_id: id, content: [{ type: "text", text: result }] }] },
];

function post(model: ModelEndpoint, messages: readonly Json[], more: Json = {}): Promise<Response> {
  const headers = { "x-api-key": "key-1", "anthropic-version": "2023-06-01" };
  const body = JSON.stringify({ model: "m", max_tokens: 100, messages, ...more });
  return fetch(`${model.url}/messages?beta=true`, { method: "POST", body, headers });
}

async function answer(model: ModelEndpoint, messages: readonly Json[]): Promise<string> {
  const { content } = (await (await post(model, messages)).json()) as { content: Json[] };
  return content.map((block) => block["text"] ?? block["name"]).join(" ");
}

async function events(model: ModelEndpoint, step: ScriptStep): Promise<readonly Json[]> {
  const response = await post(model, [user(script(step))], { stream: true });
  const text = await response.text();
  return text.split("\n").flatMap((line) => (line.startsWith("data: ") ? [JSON.parse(line.slice(6)) as Json] : []));
}

test("results in a user's message are no new prompt, and a script that a tool printed does not count", async () => {
  await using model = await startModelEndpoint();
  const first = user(script({ text: "one" }, { text: "two" }, { text: "three" }));

  expect(await answer(model, [first])).toBe("one");
  expect(await answer(model, [first, ...call("a")])).toBe("two");
  expect(await answer(model, [first, ...call("a"), ...call("b", script({ text: "printed" }))])).toBe("three");
});

test("a script that joins the results in their message begins anew", async () => {
  await using model = await startModelEndpoint();
  const asked = call("a").slice(0, 1);
  const steer = { type: "text", text: script({ text: "steered" }) };
  const content = [{ type: "tool_result", tool_use_id: "a", content: "seen" }, steer];

  const messages = [user(script({ text: "old" })), ...asked, { role: "user", content }];

  expect(await answer(model, messages)).toBe("steered");
});

test("a stream holds thinking, text and calls, each from its start to its stop", async () => {
  await using model = await startModelEndpoint();
  const step = { think: "so it is", text: "a text of some length", tools: [{ name: "look", args: { at: 1 } }] };

  const seen = await events(model, { ...step, usage: { in: 100, out: 7, cached: 40 } });

  const of = (type: string): Json[] => seen.filter((event) => event["type"] === type);
  const joined = (field: string): string =>
    of("content_block_delta")
      .map(({ delta }) => (delta as Json)[field] ?? "")
      .join("");
  expect(of("content_block_start").map(({ content_block: block }) => (block as Json)["type"])).toEqual([
    "thinking",
    "text",
    "tool_use",
  ]);
  expect(of("content_block_stop").map(({ index }) => index)).toEqual([0, 1, 2]);
  expect([joined("thinking"), joined("text"), joined("partial_json")]).toEqual([step.think, step.text, '{"at":1}']);
  expect(of("message_delta")).toMatchObject([{ delta: { stop_reason: "tool_use" } }]);
  expect(of("message_start")).toMatchObject([
    { message: { usage: { input_tokens: 60, cache_read_input_tokens: 40 } } },
  ]);
  expect(seen.at(-1)).toEqual({ type: "message_stop" });
});

test("a broken stream gets no end", async () => {
  await using model = await startModelEndpoint();

  const types = (await events(model, { text: "half", eofNoEnd: true })).map((event) => event["type"]);

  expect(types).toContain("content_block_delta");
  expect(types).not.toContain("content_block_stop");
  expect(types).not.toContain("message_stop");
  await expect(events(model, { text: "half", cut: true })).rejects.toThrow();
});

test("errors have this wire's shape, and only the right key is let in", async () => {
  await using model = await startModelEndpoint({ key: "key-1" });
  await using closed = await startModelEndpoint({ key: "another" });

  const overloaded = await post(model, [user(script({ status: 529, text: "later" }))]);
  const refused = await post(closed, [user("hello")]);

  expect(overloaded.status).toBe(529);
  expect(await overloaded.json()).toMatchObject({
    type: "error",
    error: { type: "overloaded_error", message: "later" },
  });
  expect(refused.status).toBe(401);
  expect(await refused.json()).toMatchObject({ error: { type: "authentication_error" } });
});

test("tokens are counted", async () => {
  await using model = await startModelEndpoint();

  const response = await fetch(`${model.url}/messages/count_tokens`, { method: "POST", body: "x".repeat(40) });

  expect(await response.json()).toEqual({ input_tokens: 10 });
});

test("one conversation reads the same from all three wires", () => {
  const expected = ["user: hi", "assistant: let me look", 'call: look {"at":1}', "result: it", "user: and?"];
  const [id, name, written] = ["c1", "look", '{"at":1}'];
  const bodies: readonly [string, Json][] = [
    [
      "/v1/responses",
      {
        instructions: "be brief",
        input: [
          { role: "user", content: "hi" },
          { type: "message", role: "assistant", content: [{ type: "output_text", text: "let me look" }] },
          { type: "function_call", call_id: id, name, arguments: written },
          { type: "function_call_output", call_id: id, output: "it" },
          { role: "user", content: [{ type: "input_text", text: "and?" }] },
        ],
      },
    ],
    [
      "/v1/chat/completions",
      {
        messages: [
          { role: "system", content: "be brief" },
          { role: "user", content: "hi" },
          {
            role: "assistant",
            content: "let me look",
            tool_calls: [{ id, type: "function", function: { name, arguments: written } }],
          },
          { role: "tool", tool_call_id: id, content: "it" },
          { role: "user", content: "and?" },
        ],
      },
    ],
    [
      "/v1/messages?beta=true",
      {
        system: [{ type: "text", text: "be brief" }],
        messages: [
          user("hi"),
          {
            role: "assistant",
            content: [
              { type: "text", text: "let me look" },
              { type: "tool_use", id, name, input: { at: 1 } },
            ],
          },
          {
            role: "user",
            content: [
              { type: "tool_result", tool_use_id: id, content: "it" },
              { type: "text", text: "and?" },
            ],
          },
        ],
      },
    ],
  ];

  for (const [path, body] of bodies) {
    const seen = readConversation(path, body);
    expect([path, seen.system, linesOf(seen)]).toEqual([path, ["be brief"], expected]);
  }
});
