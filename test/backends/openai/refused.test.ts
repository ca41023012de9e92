/** What a provider wants back, and what it refuses of a conversation that can go on without it. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import type { StepOutput } from "../../../backends/backend.ts";
import { createOpenAiBackend } from "../../../backends/openai/backend.ts";
import type { TranscriptMessage } from "../../../contract/blocks.ts";
import { anInput, KEY, Memory, says, type Wire } from "./step-builder.ts";

type Body = Readonly<Record<string, unknown>>;
type Answer = { readonly refused: object } | { readonly events: readonly object[] };

interface Provider extends AsyncDisposable {
  readonly bodies: Body[];
  step(wire: Wire, transcript: readonly TranscriptMessage[]): Promise<StepOutput>;
}

async function provider(answer: (body: Body) => Answer): Promise<Provider> {
  const bodies: Body[] = [];
  const server = createServer(async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString()) as Body;
    bodies.push(body);
    const given = answer(body);
    if ("refused" in given)
      response.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify({ error: given.refused }));
    else response.end(given.events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(""));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  const backend = createOpenAiBackend({ apiKey: KEY, baseUrl, defaultModel: "m" });
  return {
    bodies,
    step: (wire, transcript) => backend.step(anInput({ wire, transcript }), new Memory(), new AbortController().signal),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const replied = ({ blocks }: StepOutput): TranscriptMessage => ({ role: "assistant", blocks: [...blocks] });
const delta = (given: object, finish: string | null = null): object => ({
  choices: [{ index: 0, delta: given, finish_reason: finish }],
});
const messages = (body: Body | undefined, role: string): readonly Body[] =>
  ((body?.["messages"] ?? []) as readonly Body[]).filter((message) => message["role"] === role);

test.each(["reasoning_content", "reasoning"])("what came as %s goes back with its message", async (field) => {
  await using model = await provider((body) =>
    messages(body, "assistant").length > 0
      ? { events: [delta({ content: "done" }, "stop")] }
      : {
          events: [
            delta({ [field]: "I should ", reasoning_details: [{ type: "a" }] }),
            delta({ [field]: "look.", reasoning_details: [{ type: "b" }] }),
            delta({ tool_calls: [{ index: 0, id: "c", function: { name: "look", arguments: "{}" } }] }, "tool_calls"),
          ],
        },
  );
  const first = await model.step("chat_completions", [says("hello")]);
  const [, call] = first.blocks;
  if (call?.type !== "tool_call") throw new Error("expected a call");
  const result = { type: "tool_result", callId: call.callId, name: "look", outcome: "ok", text: "seen" } as const;

  await model.step("chat_completions", [says("hello"), replied(first), { role: "tool", blocks: [result] }]);

  expect(messages(model.bodies.at(-1), "assistant")).toMatchObject([
    { [field]: "I should look.", reasoning_details: [{ type: "a" }, { type: "b" }] },
  ]);
});

test("reasoning that the provider cannot read is left out, of what came until then, and the conversation goes on", async () => {
  let moved = false;
  let count = 0;
  const items = (body: Body): readonly Body[] => body["input"] as readonly Body[];
  const reasoning = (body: Body | undefined): readonly unknown[] =>
    items(body ?? {}).flatMap((item) => (item["type"] === "reasoning" ? [item["encrypted_content"]] : []));
  await using model = await provider((body) => {
    if (moved && reasoning(body).includes("of the old key")) {
      const message = "The encrypted content gAAA could not be verified. Reason: it could not be decrypted or parsed.";
      return { refused: { message, type: "invalid_request_error", code: "invalid_encrypted_content" } };
    }
    const thought = {
      id: `rs_${++count}`,
      type: "reasoning",
      summary: [],
      encrypted_content: moved ? "of the new key" : "of the old key",
    };
    const said = { id: `msg_${count}`, type: "message", content: [{ type: "output_text", text: "answer" }] };
    return { events: [{ type: "response.completed", response: { output: [thought, said] } }] };
  });
  const transcript: TranscriptMessage[] = [says("first")];
  const turn = async (): Promise<void> => {
    transcript.push(replied(await model.step("responses", transcript)), says("next"));
  };
  await turn();
  await turn();
  expect(reasoning(model.bodies.at(-1))).toEqual(["of the old key"]);

  moved = true;
  await turn();
  await turn();

  expect(model.bodies).toHaveLength(5);
  expect(reasoning(model.bodies.at(-1))).toEqual(["of the new key"]);
});

test.each(["responses", "chat_completions"] as const)(
  "a picture that is refused is told once, and left out of later requests (%s)",
  async (wire) => {
    const hasPicture = (body: Body | undefined): boolean => /image_url|input_image/.test(JSON.stringify(body));
    await using model = await provider((body) => {
      if (hasPicture(body)) return { refused: { message: "Could not process image", type: "invalid_request_error" } };
      return wire === "responses"
        ? { events: [{ type: "response.completed", response: { output: [{ type: "message", content: "fine" }] } }] }
        : { events: [delta({ content: "fine" }, "stop")] };
    });
    const picture = { type: "image", data: "iVBORw0KGgo=", mediaType: "image/png" } as const;
    const transcript: TranscriptMessage[] = [
      { role: "user", blocks: [{ type: "text", text: "what is this?" }, picture] },
    ];

    await expect(model.step(wire, transcript)).rejects.toMatchObject({ code: "INVALID_INPUT" });
    transcript.push(says("never mind"));
    expect((await model.step(wire, transcript)).blocks).toEqual([{ type: "text", text: "fine" }]);

    expect(model.bodies.map(hasPicture)).toEqual([true, false]);
    expect(JSON.stringify(model.bodies.at(-1))).toContain("A picture was here. The model provider refused it");
  },
);

test("a worker that did not see the refusal asks once more, and goes on", async () => {
  await using model = await provider((body) =>
    JSON.stringify(body).includes("image_url")
      ? { refused: { message: "m is not a multimodal model", type: "BadRequestError" } }
      : { events: [delta({ content: "fine" }, "stop")] },
  );
  const picture = { type: "image", url: "https://pictures.test/a.png" } as const;
  const transcript: TranscriptMessage[] = [{ role: "user", blocks: [picture] }, says("never mind")];

  expect((await model.step("chat_completions", transcript)).blocks).toEqual([{ type: "text", text: "fine" }]);
  expect(model.bodies).toHaveLength(2);
});

test("a refusal that has another reason is told as it is, after one try", async () => {
  await using model = await provider(() => ({ refused: { message: "reasoning is not for you", code: "x" } }));

  await expect(model.step("chat_completions", [says("hello")])).rejects.toMatchObject({ code: "INVALID_INPUT" });
  expect(model.bodies).toHaveLength(1);
});
