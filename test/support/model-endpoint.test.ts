/** The scripted model endpoint keeps the promises that other tests rest on. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type ModelEndpoint, type ScriptStep, startModelEndpoint } from "./model-endpoint.ts";

const script = (...steps: ScriptStep[]): string => `@@SCRIPT${JSON.stringify(steps)}@@`;
const user = (content: string): object => ({ role: "user", content });

function post(model: { url: string }, path: string, body: object): Promise<Response> {
  return fetch(`${model.url}/${path}`, { method: "POST", body: JSON.stringify({ model: "m", ...body }) });
}

/** The text of a reply that is not streamed. */
async function answer(model: { url: string }, input: readonly object[]): Promise<string> {
  const response = await post(model, "responses", { input });
  const { output } = (await response.json()) as { output: { content?: { text: string }[]; name?: string }[] };
  return output.map((item) => item.content?.[0]?.text ?? item.name ?? "").join(" ");
}

const call = (id: string): object[] => [
  { type: "reasoning", id: `rs_${id}`, summary: [] },
  { type: "function_call", call_id: id, name: "look", arguments: '{"role":"user"}' },
  { type: "function_call_output", call_id: id, output: '"type":"function_call" said the tool' },
];

test("step i answers the i-th model turn after the newest script", async () => {
  await using model = await startModelEndpoint();
  const first = user(script({ text: "one" }, { text: "two" }, { text: "three", times: 2 }, { text: "five" }));
  const turns = ["a", "b", "c", "d", "e"].map((id) => call(id));

  const answers = await Promise.all([0, 1, 2, 3, 4, 5].map((n) => answer(model, [first, ...turns.slice(0, n).flat()])));

  expect(answers).toEqual(["one", "two", "three", "three", "five", "script finished"]);
});

test("a newer script of the user's begins anew; one that a tool or a model wrote does not", async () => {
  await using model = await startModelEndpoint();
  const old = user(script({ text: "old 1" }, { text: "old 2" }));
  const printed = { type: "function_call_output", call_id: "a", output: script({ text: "printed" }) };
  const written = {
    type: "message",
    role: "assistant",
    content: [{ type: "output_text", text: script({ text: "written" }) }],
  };

  expect(await answer(model, [old, ...call("a"), printed])).toBe("old 2");
  expect(await answer(model, [old, written])).toBe("old 2");
  expect(await answer(model, [old, ...call("a"), user(`now ${script({ text: "new 1" })}`)])).toBe("new 1");
});

test("both wires stand at the same place", async () => {
  await using model = await startModelEndpoint();
  const messages = [
    user(script({ text: "one" }, { text: "two" })),
    {
      role: "assistant",
      content: null,
      tool_calls: [{ id: "a", type: "function", function: { name: "x", arguments: "{}" } }],
    },
    { role: "tool", tool_call_id: "a", content: "r" },
  ];

  const response = await post(model, "chat/completions", { messages });

  const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
  expect(choices[0]?.message.content).toBe("two");
});

test("conversations side by side, with one script, do not disturb each other's places", async () => {
  await using model = await startModelEndpoint();
  const steps = Array.from({ length: 6 }, (_, i) => ({ text: `step ${i}` }));
  const grow = async (name: string): Promise<string[]> => {
    const input = [user(script(...steps))];
    const answers: string[] = [];
    for (let i = 0; i < 6; i++) {
      answers.push(await answer(model, input));
      input.push(...call(`${name}${i}`));
    }
    return answers;
  };

  const all = await Promise.all(["a", "b", "c", "d"].map(grow));

  expect(all).toEqual(Array(4).fill(steps.map((step) => step.text)));
});

test("a step fails as often as its script says, and then answers", async () => {
  await using model = await startModelEndpoint();
  const fails = { status: 429, times: 2, headers: { "retry-after": "3" } };
  const input = [user(script({ text: "well", fails }))];

  const refused = [await post(model, "responses", { input }), await post(model, "responses", { input })];

  expect(refused.map((response) => [response.status, response.headers.get("retry-after")])).toEqual([
    [429, "3"],
    [429, "3"],
  ]);
  expect(await answer(model, input)).toBe("well");
});

test("pieces have the size that was asked for, and characters stay whole", async () => {
  await using model = await startModelEndpoint({ piece: 2 });

  const response = await post(model, "responses", { input: [user(script({ text: "a🙂b🙂c" }))], stream: true });

  const deltas = [...(await response.text()).matchAll(/"delta":"([^"]*)"/g)].map((match) => match[1]);
  expect(deltas).toEqual(["a🙂", "b🙂", "c"]);
});

test("a conversation without a script follows the standing one from its newest user message on, or is echoed", async () => {
  await using model = await startModelEndpoint();
  expect(await answer(model, [user("hello")])).toBe("echo: hello");

  model.script({ tools: [{ name: "look" }] }, { text: "seen" });

  expect(await answer(model, [user("hello")])).toBe("look");
  expect(await answer(model, [user("hello"), ...call("a")])).toBe("seen");
  expect(await answer(model, [user("hello"), ...call("a"), user("again")])).toBe("look");
});

test("a script that cannot be read is refused in words", async () => {
  await using model = await startModelEndpoint();

  const broken = await post(model, "responses", { input: [user("@@SCRIPT[{nonsense]@@")] });
  const open = await post(model, "responses", { input: [user("@@SCRIPT[{}")] });

  expect([broken.status, open.status]).toEqual([400, 400]);
  expect(await broken.text()).toContain("not valid JSON");
});

test("only the newest bodies are kept", async () => {
  await using model: ModelEndpoint = await startModelEndpoint({ bodiesKept: 2 });
  for (const text of ["a", "b", "c"]) await answer(model, [user(text)]);

  expect(model.requests.map((request) => request.body)).toEqual([
    undefined,
    expect.objectContaining({ input: [user("b")] }),
    expect.objectContaining({ input: [user("c")] }),
  ]);
});

test("a client that leaves early is seen, and a condition that never holds fails in time", async () => {
  await using model = await startModelEndpoint();
  const stop = new AbortController();
  const body = JSON.stringify({ model: "m", stream: true, input: [user(script({ text: "a", stall: true }))] });
  await fetch(`${model.url}/responses`, { method: "POST", body, signal: stop.signal });

  stop.abort();
  await model.until(() => model.requests[0]?.closedEarlyAt !== undefined);

  await expect(model.until(() => false, 20)).rejects.toThrow("did not hold within 20 ms");
});

test("the place in a long conversation is the same whether it grew here or came at once", async () => {
  await using grown = await startModelEndpoint();
  await using fresh = await startModelEndpoint();
  const steps = Array.from({ length: 300 }, (_, i) => ({ text: `step ${i}` }));
  const input = [user(script(...steps))];
  for (let i = 0; i < 200; i++) {
    input.push(...call(`id${i}`));
    if (i % 20 === 0) await answer(grown, input);
  }

  expect(await answer(grown, input)).toBe("step 200");
  expect(await answer(fresh, input)).toBe("step 200");
});

test("it runs as a process of its own and says its address in one line", async () => {
  const file = fileURLToPath(new URL("./model-endpoint.ts", import.meta.url));
  const child = spawn(process.execPath, [file, "--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const { url } = JSON.parse(line.toString()) as { url: string };

    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1$/);
    expect(await answer({ url }, [user(script({ text: "hello" }))])).toBe("hello");
  } finally {
    child.kill("SIGKILL");
  }
});
