/** The runtime's request as the provider gets it, on each wire. */
import { describe, expect, test } from "vitest";
import { shapeRequest } from "../../../backends/copilot/request.ts";
import { INTERRUPTED_NOTE } from "../../../backends/interrupted-note.ts";
import type { TranscriptMessage } from "../../../contract/blocks.ts";
import { anInput, failureOf, says, scripted } from "../openai/step-builder.ts";
import { Conversation, startCopilotWorld, type Wire } from "./step-builder.ts";

const WIRES = ["responses", "chat_completions", "anthropic"] as const;
const SETTINGS = { temperature: 0.5, topP: 0.9, maxOutputTokens: 99, reasoningEffort: "low" as const };
const CLOCK = "<current_datetime>2026-01-02T03:04:05.678+00:00</current_datetime>\n\n";

describe.each<[Wire, Record<string, unknown>, readonly string[]]>([
  [
    "responses",
    { temperature: 0.5, top_p: 0.9, max_output_tokens: 99, reasoning: { effort: "low", summary: "auto" } },
    ["temperature", "top_p", "max_output_tokens", "reasoning", "text"],
  ],
  [
    "completions",
    { temperature: 0.5, top_p: 0.9, max_tokens: 99, reasoning_effort: "low" },
    ["temperature", "top_p", "max_tokens", "reasoning_effort", "response_format", "frequency_penalty"],
  ],
  [
    "anthropic",
    { temperature: 0.5, top_p: 0.9, max_tokens: 99, thinking: { type: "enabled" } },
    ["temperature", "top_p", "thinking"],
  ],
])("over the %s wire", (wire, asked, unasked) => {
  test("an agent's settings reach the provider, and without them nothing is asked of it", async () => {
    await using world = await startCopilotWorld({ wire });
    const body = (): unknown => world.model.requests.at(-1)?.body;

    await new Conversation({ agent: { modelSettings: SETTINGS } }).say(scripted({ text: "a" })).step(world);
    expect(body()).toMatchObject(asked);
    await new Conversation().say(scripted({ text: "a" })).step(world);

    for (const field of unasked) expect(body()).not.toHaveProperty(field);
  });

  test("each kind of model call is one request, also when it fails", async () => {
    await using world = await startCopilotWorld({ wire });
    const steps = [{ status: 429 }, { status: 500 }, { text: "half", cut: true }, {}, { tools: [{ name: "leap" }] }];
    for (const [i, step] of steps.entries()) {
      const session = new Conversation().say(scripted(step));
      if (i < 4) await failureOf(session.step(world));
      else await session.step(world);

      expect(world.model.requests.length).toBe(i + 1);
    }
  });
});

describe.each(WIRES)("the %s wire", (wire) => {
  const shape = (content: unknown, transcript: readonly TranscriptMessage[]): unknown => {
    const list = wire === "responses" ? "input" : "messages";
    const input = anInput({ transcript });
    const body = shapeRequest({ [list]: [{ role: "user", content }] }, { input, wire, isGithub: false });
    return (body[list] as { content: unknown }[])[0]?.content;
  };

  test("carries a person's words without the time that the runtime puts before them", () => {
    expect(shape(`${CLOCK}hello`, [says("hello")])).toBe("hello");
    expect(shape([{ type: "text", text: `${CLOCK}hello` }], [says("hello")])).toEqual([
      { type: "text", text: "hello" },
    ]);
  });

  test("keeps a time that a person has written", () => {
    expect(shape(`${CLOCK}${CLOCK}hello`, [says(`${CLOCK}hello`)])).toBe(`${CLOCK}hello`);
    expect(shape(`${CLOCK}hello`, [says(`${CLOCK}hello`)])).toBe(`${CLOCK}hello`);
  });

  test("keeps what looks like the mark of an attachment, also of one that there is", () => {
    const text = "see [[attachment 0.0]] and [[attachment 7.1]]";
    const image: TranscriptMessage = { role: "user", blocks: [{ type: "image", url: "https://example.com/a.png" }] };
    expect(shape(text, [image, says(text)])).toBe(text);
  });

  test("finds a person's messages also when the runtime has left out older ones", () => {
    const file = { type: "file" as const, filename: "a.txt", data: "YQ==", mediaType: "text/plain" };
    const transcript = [says("left out"), { role: "user" as const, blocks: [file] }];
    expect(JSON.stringify(shape("[[attachment 1.0]]", transcript))).toContain("a.txt");
  });

  test("has images and files in their places, between the texts", () => {
    const transcript: TranscriptMessage[] = [
      {
        role: "user",
        blocks: [
          { type: "text", text: "one" },
          { type: "image", url: "https://example.com/a.png" },
          { type: "text", text: "two" },
          { type: "file", filename: "a.txt", data: "YQ==", mediaType: "text/plain" },
        ],
      },
    ];
    const parts = shape(`${CLOCK}one\n\n[[attachment 0.1]]\n\ntwo\n\n[[attachment 0.3]]`, transcript);

    expect(JSON.stringify(parts)).toContain("https://example.com/a.png");
    const kinds = (parts as { type: string; text?: string }[]).map((part) => part.text ?? part.type);
    expect(kinds.filter((kind) => kind === "one" || kind === "two")).toEqual(["one", "two"]);
    expect(kinds).toHaveLength(4);
    expect(JSON.stringify(parts)).not.toContain("[[attachment");
  });

  test("takes apart messages that the runtime has joined", () => {
    const transcript: TranscriptMessage[] = [
      says("one"),
      says("two\n\n\nhalves"),
      { role: "assistant", blocks: [{ type: "text", text: "cut" }], interrupted: true },
      says("three"),
    ];
    const joined = ["one", "two\n\n\nhalves", INTERRUPTED_NOTE, `${CLOCK}three`].join("\n\n\n");

    expect(shape([{ type: "text", text: joined }], transcript)).toEqual(
      ["one", "two\n\n\nhalves", INTERRUPTED_NOTE, "three"].map((text) => ({ type: "text", text })),
    );
  });

  test("refuses what it cannot carry in words that name it", () => {
    const link: TranscriptMessage = {
      role: "user",
      blocks: [{ type: "file", filename: "big.bin", data: "AA==", mediaType: "application/zip" }],
    };
    const attempt = (): unknown => shape("[[attachment 0.0]]", [link]);

    if (wire === "anthropic") expect(attempt).toThrow(/big\.bin is application\/zip/);
    else expect(JSON.stringify(attempt())).toContain("big.bin");
  });
});

test("a reply with calls whose thinking is not known is answered without thinking, as Anthropic wants it", () => {
  const call = { type: "tool_use", id: "t1", name: "look", input: {} };
  const agent = { modelSettings: { reasoningEffort: "low" as const } };
  const input = anInput({ agent });
  const body = (content: unknown[]): Record<string, unknown> =>
    shapeRequest(
      { messages: [{ role: "assistant", content }], thinking: { type: "enabled" } },
      { input, wire: "anthropic", isGithub: false },
    );

  expect(body([call])).not.toHaveProperty("thinking");
  expect(body([{ type: "thinking", thinking: "hm" }, call])).toHaveProperty("thinking");
  expect(body([{ type: "text", text: "done" }])).toHaveProperty("thinking");
});
