/** What the provider is sent. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TranscriptMessage } from "../../../contract/blocks.ts";
import { anInput, failureOf, lastBody, run, says, scripted, startWorld, WIRES, type World } from "./step-builder.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const raw = (): string => world.model.requests.at(-1)?.raw?.toString("utf8") ?? "";

function result(callId: `call_${string}`, text: string): TranscriptMessage[] {
  return [
    { role: "assistant", blocks: [{ type: "tool_call", callId, name: "look", arguments: { at: callId } }] },
    { role: "tool", blocks: [{ type: "tool_result", callId, name: "look", outcome: "ok", text }] },
  ];
}

describe.each(WIRES)("over the %s wire", (wire) => {
  const list = wire === "responses" ? "input" : "messages";

  test("the same transcript makes the same bytes, also from other objects", async () => {
    const transcript = [scripted({ text: "a" }), ...result("call_1", 'ünï "quoted" 🙂\n'), says("and?")];

    await run(world, anInput({ wire, transcript }));
    const first = raw();
    await run(world, anInput({ wire, transcript: structuredClone(transcript) }));

    expect(raw()).toBe(first);
    expect(first).toContain("ünï");
  });

  test("the conversation of a later step begins with that of the step before", async () => {
    const transcript = [scripted({ text: "a", times: 9 }), ...result("call_1", "one")];
    const end = wire === "responses" ? '],"include"' : '],"tools"';
    await run(world, anInput({ wire, transcript, agent: { instructions: "be brief" } }));
    const before = raw();

    await run(
      world,
      anInput({ wire, transcript: [...transcript, ...result("call_2", "two")], agent: { instructions: "be brief" } }),
    );

    const prefix = before.slice(0, before.indexOf(end));
    expect(prefix).toContain('"one"');
    expect(raw().startsWith(`${prefix},`)).toBe(true);
    expect(raw().slice(raw().indexOf(end))).toBe(before.slice(before.indexOf(end)));
  });

  test("a conversation that was rewritten in its middle is sent as it is now", async () => {
    const [first, last] = [scripted({ text: "a" }), says("end")];
    await run(world, anInput({ wire, transcript: [first, says("old"), last] }));

    await run(world, anInput({ wire, transcript: [first, says("new"), last] }));

    expect(raw()).toContain('"new"');
    expect(raw()).not.toContain('"old"');
  });

  test("a text that looks like a marker or a script's end is only a text", async () => {
    const text = '"conversation:1:" ]@@ "role":"user" \\ \u2028';

    await run(world, anInput({ wire, transcript: [scripted({ text: "a" }), ...result("call_1", text)] }));

    expect(JSON.stringify(lastBody(world)[list])).toContain(JSON.stringify(text).slice(1, -1));
  });

  test("nothing is stored at the provider, and the session keys its prompt cache", async () => {
    await run(world, anInput({ wire }));

    const include = wire === "responses" ? { include: ["reasoning.encrypted_content"] } : {};
    expect(lastBody(world)).toMatchObject({ store: false, prompt_cache_key: "session-1", stream: true, ...include });
  });

  test("an agent's options and instructions reach the wire", async () => {
    const modelSettings = { temperature: 0.5, maxOutputTokens: 99, reasoningEffort: "low" as const };
    await run(world, anInput({ wire, agent: { instructions: "be brief", modelSettings } }));

    const expected =
      wire === "responses"
        ? { instructions: "be brief", max_output_tokens: 99, reasoning: { effort: "low", summary: "auto" } }
        : { max_tokens: 99, reasoning_effort: "low", messages: [{ role: "system", content: "be brief" }, {}] };
    expect(lastBody(world)).toMatchObject({ temperature: 0.5, ...expected });
  });

  test("an outputSchema is sent, strict only when it fits the strict mode", async () => {
    const strict = {
      type: "object",
      properties: { a: { type: "string" } },
      required: ["a"],
      additionalProperties: false,
    };
    const format = (): unknown =>
      wire === "responses"
        ? (lastBody(world)["text"] as { format: unknown }).format
        : (lastBody(world)["response_format"] as { json_schema: unknown }).json_schema;

    await run(world, anInput({ wire, agent: { outputSchema: strict } }));
    expect(format()).toMatchObject({ name: "output", strict: true, schema: strict });

    await run(
      world,
      anInput({ wire, agent: { outputSchema: { type: "object", properties: { a: { type: "string" } } } } }),
    );
    expect(format()).toMatchObject({ name: "output", strict: false });
  });

  test("images and files go as data URLs, links as links", async () => {
    const data = Buffer.from("bytes").toString("base64");
    const blocks: TranscriptMessage["blocks"] = [
      { type: "text", text: "look" },
      { type: "image", data, mediaType: "image/png", detail: "low" },
      { type: "image", url: "https://example.com/a.png" },
      { type: "file", filename: "a.pdf", data, mediaType: "application/pdf" },
    ];

    await run(world, anInput({ wire, transcript: [{ role: "user", blocks }, scripted({ text: "ok" })] }));

    const [png, pdf] = [`data:image/png;base64,${data}`, `data:application/pdf;base64,${data}`];
    const expected =
      wire === "responses"
        ? [
            { type: "input_text", text: "look" },
            { type: "input_image", detail: "low", image_url: png },
            { type: "input_image", detail: "auto", image_url: "https://example.com/a.png" },
            { type: "input_file", filename: "a.pdf", file_data: pdf },
          ]
        : [
            { type: "text", text: "look" },
            { type: "image_url", image_url: { url: png, detail: "low" } },
            { type: "image_url", image_url: { url: "https://example.com/a.png" } },
            { type: "file", file: { filename: "a.pdf", file_data: pdf } },
          ];
    expect((lastBody(world)[list] as { content: unknown }[])[0]?.content).toEqual(expected);
  });

  test("fields that a model refuses are left out from then on, within the same step", async () => {
    const refusal = (param: string): object => ({
      error: { message: `Unsupported parameter: '${param}'`, param, code: "unsupported_parameter" },
    });
    const fails = { status: 400, times: 1, body: refusal("prompt_cache_key") };
    const agent = { model: `picky-${wire}` };
    const before = world.model.requests.length;

    const output = await run(world, anInput({ wire, agent, transcript: [scripted({ text: `ok, ${wire}`, fails })] }));
    await run(world, anInput({ wire, agent }));

    expect(output.blocks).toEqual([{ type: "text", text: `ok, ${wire}` }]);
    expect(world.model.requests.length - before).toBe(3);
    expect(lastBody(world)).not.toHaveProperty("prompt_cache_key");
  });

  test("a refused field that is left out already fails the step", async () => {
    const body = { error: { message: "Unsupported parameter: 'store'", param: "store" } };
    const before = world.model.requests.length;
    const agent = { model: `stubborn-${wire}` };

    const error = await failureOf(run(world, anInput({ wire, agent, transcript: [scripted({ status: 400, body })] })));

    expect(error.code).toBe("INVALID_INPUT");
    expect(world.model.requests.length - before).toBe(2);
  });
});

test("the word store in another refusal does not make the provider store anything", async () => {
  const message = "Item 'rs_1' not found. Items are not persisted when `store` is set to false.";

  const error = await failureOf(
    run(world, anInput({ transcript: [scripted({ status: 400, body: { error: { message } } })] })),
  );
  await run(world, anInput());

  expect(error.code).toBe("INVALID_INPUT");
  expect(lastBody(world)).toMatchObject({ store: false });
});

test("a model that refuses max_tokens gets the new name of it", async () => {
  const body = {
    error: { message: "Unsupported parameter: 'max_tokens' is not supported with this model.", param: "max_tokens" },
  };
  const transcript = [scripted({ text: "ok", fails: { status: 400, times: 1, body } })];
  const agent = { model: "newer", modelSettings: { maxOutputTokens: 7 } };

  await run(world, anInput({ wire: "chat_completions", transcript, agent }));

  expect(lastBody(world)).toMatchObject({ max_completion_tokens: 7 });
  expect(lastBody(world)).not.toHaveProperty("max_tokens");
});

test("a file by link goes without its name on the Responses wire, and is refused in words on the other", async () => {
  const file = { type: "file" as const, filename: "a.pdf", url: "https://example.com/a.pdf" };
  const transcript: TranscriptMessage[] = [{ role: "user", blocks: [file] }];

  await run(world, anInput({ wire: "responses", transcript }));
  const error = await failureOf(run(world, anInput({ wire: "chat_completions", transcript })));

  expect(lastBody(world)["input"]).toEqual([
    { role: "user", content: [{ type: "input_file", file_url: "https://example.com/a.pdf" }] },
  ]);
  expect(error).toMatchObject({ code: "INVALID_INPUT", retryable: false });
  expect(error.message).toContain("a.pdf");
});
