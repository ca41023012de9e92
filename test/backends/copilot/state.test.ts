/** What a step commits of the runtime's state, and what later steps go on from: here, elsewhere, or from the transcript alone. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createOpenAiBackend } from "../../../backends/openai/backend.ts";
import type { TranscriptMessage } from "../../../contract/blocks.ts";
import { readConversation, type SeenConversation } from "../../support/seen-conversation.ts";
import { anInput, Memory, says, scripted } from "../openai/step-builder.ts";
import { Conversation, type CopilotWorld, KEY, startCopilotWorld, texts, WIRES, type Wire } from "./step-builder.ts";

const LOOK = { name: "look", args: { at: "a" } };
const ALL_WIRES: readonly Wire[] = [...WIRES, "anthropic"];

describe.each(ALL_WIRES)("over the %s wire", (wire) => {
  let world: CopilotWorld;
  beforeAll(async () => {
    world = await startCopilotWorld({ wire });
  }, 30_000);
  afterAll(() => world[Symbol.asyncDispose]());

  const shown = (): SeenConversation => {
    const request = world.model.requests.at(-1);
    return readConversation(request?.path ?? "", request?.body);
  };

  test("a state only grows at its end, over calls, steering and turns", async () => {
    const session = new Conversation().say(
      scripted({ text: "a", tools: [LOOK, LOOK] }, { tools: [LOOK] }, { text: "b" }),
    );
    await session.step(world);
    await session.answer().say(says("faster")).step(world);
    await session.answer().step(world);
    await session.say(scripted({ text: "c" })).step(world);

    expect(session.changes.map((change) => Object.keys(change ?? {}))).toEqual([
      ["replace", "meta"],
      ...Array.from({ length: 3 }, () => ["append", "meta"]),
    ]);
  });

  test("a state's lines follow one another, without a note of each resume", async () => {
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { tools: [LOOK] }, { text: "b" }));
    for (let step = 0; step < 3; step++) {
      await session.step(world);
      session.answer();
    }

    const lines = (session.state?.text.trim() ?? "").split("\n").map((line) => JSON.parse(line) as LogLine);
    expect(lines.filter(({ type }) => type === "session.resume")).toEqual([]);
    expect(lines.map(({ parentId }) => parentId)).toEqual([null, ...lines.slice(0, -1).map(({ id }) => id)]);
  });

  test("a state holds neither the key nor where it was made", async () => {
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b" }));
    await session.step(world);
    await session.answer().step(world);

    const { text = "", meta } = session.state ?? {};
    expect(text).toContain("session.start");
    expect(JSON.stringify([text, meta])).not.toContain(KEY);
    expect(text).not.toContain(world.scratchDir);
    expect(text).not.toContain(world.model.url);
  });

  test("two workers that take turns make the same conversation as one", async () => {
    await using other = await world.anotherWorker();
    const script = scripted({ think: "hm", text: "a", tools: [LOOK, LOOK] }, { tools: [LOOK] }, { text: "b" });
    const [one, two] = [new Conversation(), new Conversation()];
    const lines: string[] = [];
    for (const [session, workers] of [
      [one, [world, world]],
      [two, [world, other]],
    ] as const) {
      session.say(script);
      for (let step = 0; step < 3; step++) {
        await session.step(workers[step % 2] ?? world);
        if (step < 2) session.answer();
      }
      lines.push(withoutIds(world));
    }

    expect(lines[1]).toBe(lines[0]);
    expect(two.changes.map((change) => change?.append === undefined)).toEqual([true, false, false]);
  });

  test("the conversation of a later step begins with the bytes of the step before", async () => {
    const session = new Conversation({ agent: { instructions: "be brief" } });
    session.say(scripted({ text: "a", tools: [LOOK] }, { tools: [LOOK] }, { text: "b" }));
    const sent: string[] = [];
    for (let step = 0; step < 3; step++) {
      await session.step(world);
      sent.push(conversationBytes(world));
      session.answer();
    }

    expect(sent[1]?.startsWith(`${sent[0]},`)).toBe(true);
    expect(sent[2]?.startsWith(`${sent[1]},`)).toBe(true);
  });

  test("two attempts of one step at once, in one runtime, both end right and do not mix", async () => {
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b", gapMs: 5 }));
    await session.step(world);
    session.answer();

    const attempts = Array.from({ length: 4 }, () =>
      world.backend.step(session.input(), new Memory(), new AbortController().signal),
    );
    const outputs = await Promise.all(attempts);

    expect(outputs.map(texts)).toEqual(["b", "b", "b", "b"]);
    const added = outputs.map(({ state }) => state?.append?.match(/"tool\.execution_complete"/g)?.length);
    expect(added).toEqual([1, 1, 1, 1]);
  });

  test("a step that is tried again from the same state makes the same request", async () => {
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { status: 500 }));
    await session.step(world);
    session.answer();
    const input = session.input();

    const requests: string[] = [];
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(world.backend.step(input, new Memory(), new AbortController().signal)).rejects.toThrow();
      requests.push(world.model.requests.at(-1)?.raw?.toString("utf8") ?? "");
    }

    expect(new Set(requests).size).toBe(1);
  });

  test("a state that the runtime cannot read is begun anew from the transcript, and said", async () => {
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b" }));
    await session.step(world);
    session.answer();
    const warnings = world.warnings.length;
    if (session.state) session.state = { ...session.state, text: "no log at all\n" };

    const output = await session.step(world);

    expect(texts(output)).toBe("b");
    expect(output.state?.replace).toContain("session.start");
    expect(world.warnings.slice(warnings)).toEqual([expect.stringContaining("begins anew")]);
  });

  test("a conversation written from the transcript is shown as openai shows it", async () => {
    const transcript = history();
    await new Conversation({ agent: { instructions: "be brief" } }).say(...transcript).step(world);
    const written = shown();

    const openai = createOpenAiBackend({ apiKey: KEY, baseUrl: world.model.url, defaultModel: "scripted-model" });
    const input = anInput({ wire: "chat_completions", agent: { instructions: "be brief" }, transcript });
    await openai.step(input, new Memory(), new AbortController().signal);

    // Thinking is another backend's own, and is not carried over.
    expect(numbered(withoutThoughts(written))).toEqual(numbered(withoutThoughts(shown())));
  });

  test("what was written once is gone on from like any other state", async () => {
    const session = new Conversation().say(...history());
    await session.step(world);
    await session.say(scripted({ tools: [LOOK] }, { text: "end" })).step(world);
    const { entries } = shown();
    await session.answer().step(world);

    expect(session.changes.map((change) => change?.append === undefined)).toEqual([true, false, false]);
    expect(JSON.stringify(shown().entries).startsWith(JSON.stringify(entries).slice(0, -1))).toBe(true);
  });
});

interface LogLine {
  readonly type: string;
  readonly id: string;
  readonly parentId: string | null;
}

/** All that a conversation may hold, as another backend has left it. */
function history(): TranscriptMessage[] {
  const call = (n: number) => ({
    type: "tool_call" as const,
    callId: `call_${n}` as const,
    name: "look",
    arguments: { n },
  });
  const result = (n: number, outcome: "ok" | "error" | "denied" = "ok"): TranscriptMessage => ({
    role: "tool",
    blocks: [{ type: "tool_result", callId: `call_${n}`, name: "look", outcome, text: `ünï "${n}" 🙂\n` }],
  });
  return [
    says("first"),
    {
      role: "assistant",
      blocks: [{ type: "thinking", text: "secret" }, { type: "text", text: "ok" }, call(1), call(2)],
    },
    result(1),
    result(2, "error"),
    says("steered"),
    { role: "assistant", blocks: [call(3)] },
    result(3, "denied"),
    { role: "assistant", blocks: [{ type: "text", text: "half of" }], interrupted: true },
    scripted({ text: "now" }),
  ];
}

function withoutThoughts(seen: SeenConversation): unknown {
  const entries = seen.entries.map((entry) => (entry.role === "assistant" ? { ...entry, thoughts: [] } : entry));
  return { system: seen.system, entries, tools: seen.tools };
}

/** With the ids of its calls, which are made of other ids by each of the two, in their order. */
function numbered(seen: unknown): unknown {
  const ids = new Map<string, string>();
  const named = JSON.stringify(seen).replace(/"[0-9A-Za-z]{9}"/g, (id) => {
    if (!ids.has(id)) ids.set(id, `"id${ids.size}"`);
    return ids.get(id) ?? "";
  });
  return JSON.parse(named);
}

/** The last request, with the ids that the scripted model draws at random numbered. */
function withoutIds(world: CopilotWorld): string {
  const ids = new Map<string, string>();
  const raw = world.model.requests.at(-1)?.raw?.toString("utf8") ?? "";
  return raw.replace(/(call|rs|toolu|fc)_[a-z0-9]{12,}|[0-9a-f-]{36}|(?<=id":")[0-9A-Za-z]{9}(?=")/g, (id) => {
    if (!ids.has(id)) ids.set(id, `id${ids.size}`);
    return ids.get(id) ?? "";
  });
}

/** The items of the last request's conversation, as bytes. */
function conversationBytes(world: CopilotWorld): string {
  const raw = world.model.requests.at(-1)?.raw?.toString("utf8") ?? "";
  const body = JSON.parse(raw) as { input?: unknown[]; messages?: unknown[] };
  return JSON.stringify(body.input ?? body.messages).slice(1, -1);
}
