/** Part of the conformance suite: what a reply is made of, and how it streams. */
import { describe, expect, test } from "vitest";
import type { ReplyBlock } from "../../contract/blocks.ts";
import { linesOf } from "../support/seen-conversation.ts";
import type { Given } from "./backend-under-test.ts";
import { CheckedSink, LOOK, scripted } from "./played-session.ts";

/** Blocks without their ids, which are random. */
const plain = (blocks: readonly ReplyBlock[]): unknown[] =>
  blocks.map((block) => {
    if (block.type === "tool_call") return [block.name, block.arguments];
    return block.type === "thinking" ? { thinking: block.text } : block.text;
  });

export function describeReplies(given: () => Given): void {
  describe("a reply", () => {
    test("that is plain text streams in deltas and ends as one block", async () => {
      const { run, session, last } = given();
      const played = session();
      const sink = new CheckedSink();
      const text = "a plain answer that comes in more than one piece";
      played.say(scripted({ text }));

      const output = await played.step(run, sink);

      expect(output.blocks).toEqual([{ type: "text", text }]);
      expect(sink.deltas.length).toBeGreaterThan(1);
      expect(output.model).toBe("scripted-model");
      expect(linesOf(last())).toEqual([`user: ${scripted({ text })}`]);
    });

    test("with thinking has it before its text, or not at all as its capabilities say", async () => {
      const { run, session, entry } = given();
      const played = session();
      played.say(scripted({ think: "first I think", text: "then I speak" }));

      const { blocks } = await played.step(run);

      const thinking = entry.capabilities.thinking ? [{ thinking: "first I think" }] : [];
      expect(plain(blocks)).toEqual([...thinking, "then I speak"]);
    });

    test("with thinking that led to a call gets it back with the call's result, where the wire carries it", async () => {
      const { run, session, last, wire } = given();
      const played = session();

      await played.turn(run, scripted({ think: "I must look", tools: [{ name: "look" }] }, { text: "done" }));

      const thoughts = last().entries.flatMap((entry) => (entry.role === "assistant" ? entry.thoughts : []));
      expect(thoughts).toEqual(wire === "responses" || wire === "anthropic" ? ["I must look"] : []);
    });

    test("may hold text and a call, whose result the model is shown with the call", async () => {
      const { run, session, last } = given();
      const played = session();
      const prompt = scripted({ text: "let me look", tools: [{ name: "look", args: { at: "hill" } }] }, { text: "ok" });
      played.say(prompt);

      const first = await played.step(run);
      played.answer(() => ({ text: "a hill" }));
      const second = await played.step(run);

      expect(plain(first.blocks)).toEqual(["let me look", ["look", { at: "hill" }]]);
      expect(played.calls.every((call) => call.callId.startsWith("call_"))).toBe(true);
      expect(plain(second.blocks)).toEqual(["ok"]);
      expect(linesOf(last())).toEqual([
        `user: ${prompt}`,
        "assistant: let me look",
        'call: look {"at":"hill"}',
        "result: a hill",
      ]);
    });

    test("may hold several calls at once, and each result is shown with its own call", async () => {
      const { run, session, last } = given();
      const played = session();
      const places = ["north", "east", "south"];
      const prompt = scripted({ tools: places.map((at) => ({ name: "look", args: { at } })) }, { text: "ok" });
      played.say(prompt);

      const { blocks } = await played.step(run);
      const made = played.calls;
      played.answer((call) => ({ text: `at ${JSON.stringify(call.arguments)}` }));
      await played.step(run);

      expect(plain(blocks)).toEqual(places.map((at) => ["look", { at }]));
      expect(new Set(made.map(({ callId }) => callId)).size).toBe(3);
      const { calls, results } = callsAndResults(last().entries);
      expect(results.map(({ id }) => id)).toEqual(calls.map(({ id }) => id));
      expect(results.map(({ text }) => text)).toEqual(places.map((at) => `at ${JSON.stringify({ at })}`));
    });

    test("may ask for the same thing twice at once, and both are calls", async () => {
      const { run, session, last } = given();
      const played = session();
      const same = { name: "look", args: { at: "hill" } };
      let count = 0;

      await played.turn(run, scripted({ tools: [same, same] }, { text: "ok" }), () => ({ text: `time ${++count}` }));

      const { calls, results } = callsAndResults(last().entries);
      expect(new Set(calls.map(({ id }) => id)).size).toBe(2);
      expect(results.map(({ text }) => text)).toEqual(["time 1", "time 2"]);
    });

    test("may call without arguments", async () => {
      const { run, session } = given();
      const played = session();
      played.say(scripted({ tools: [{ name: "look", rawArgs: "" }] }));

      const { blocks } = await played.step(run);

      expect(plain(blocks)).toEqual([["look", {}]]);
    });

    test("may name a tool that does not exist: it is a call, and our words on it reach the model", async () => {
      const { run, session, last } = given();
      const played = session();
      const unknown = { name: "leap", args: { far: true } };
      played.say(scripted({ tools: [unknown, { name: "look", args: { at: "a" } }] }, { text: "I see" }));

      const { blocks } = await played.step(run);
      played.answer(({ name }) => (name === "leap" ? { outcome: "error", text: "there is no leap" } : { text: "a" }));
      const second = await played.step(run);

      expect(plain(blocks)).toEqual([
        ["leap", { far: true }],
        ["look", { at: "a" }],
      ]);
      expect(plain(second.blocks)).toEqual(["I see"]);
      expect(linesOf(last()).slice(-2)).toEqual(["result: there is no leap", "result: a"]);
    });

    test("may hold only a call of a tool that does not exist", async () => {
      const { run, session, last } = given();
      const played = session();
      played.say(scripted({ tools: [{ name: "leap" }] }, { text: "I see" }));

      const { blocks } = await played.step(run);
      played.answer(() => ({ outcome: "error", text: "there is no leap" }));
      const second = await played.step(run);

      expect(plain(blocks)).toEqual([["leap", {}]]);
      expect(plain(second.blocks)).toEqual(["I see"]);
      expect(linesOf(last()).slice(-2)).toEqual(["call: leap {}", "result: there is no leap"]);
    });

    test("with arguments that are no JSON has them as they were written, and the conversation goes on", async () => {
      const { run, session, last } = given();
      const played = session();
      played.say(scripted({ tools: [{ name: "look", rawArgs: '{"at": "hi' }] }, { text: "sorry" }));

      const { blocks } = await played.step(run);
      played.answer(() => ({ outcome: "error", text: "the arguments are not valid JSON" }));
      const second = await played.step(run);

      expect(plain(blocks)).toEqual([["look", '{"at": "hi']]);
      expect(plain(second.blocks)).toEqual(["sorry"]);
      // Providers refuse a conversation whose calls are not JSON objects.
      const { calls } = callsAndResults(last().entries);
      expect(calls.map((call) => typeof call.arguments)).toEqual(["object"]);
      expect(linesOf(last()).at(-1)).toBe("result: the arguments are not valid JSON");
    });

    test("is counted in tokens, with those from the cache and of reasoning", async () => {
      const { run, session, wire } = given();
      const played = session();
      played.say(scripted({ text: "costly", usage: { in: 1_000, out: 50, cached: 400, reasoning: 20 } }));

      const { usage } = await played.step(run);

      // Anthropic's wire does not tell thinking from the rest of the output.
      const reasoningTokens = wire === "anthropic" ? 0 : 20;
      expect(usage).toEqual({ inputTokens: 1_000, outputTokens: 50, cachedTokens: 400, reasoningTokens });
    });

    test("keeps every character, and so does what the model is shown", async () => {
      const { run, session, last } = given();
      const played = session();
      const text = 'ünï "quoted" \\ 漢字 🙂👩‍👩‍👧 שלום \u2028\t\n end';
      const prompt = `${text} ${scripted({ text, tools: [{ name: "look", args: { at: text } }] }, { text })}`;
      played.say(prompt);

      const first = await played.step(run);
      played.answer(() => ({ text }));
      const second = await played.step(run);

      expect(plain(first.blocks)).toEqual([text, ["look", { at: text }]]);
      expect(plain(second.blocks)).toEqual([text]);
      expect(linesOf(last())).toEqual([
        `user: ${prompt}`,
        `assistant: ${text}`,
        `call: look ${JSON.stringify({ at: text })}`,
        `result: ${text}`,
      ]);
    });

    test("in which the model declines says so, and holds its words", async () => {
      const { run, session } = given();
      const played = session();
      played.say(scripted({ refusal: "I would rather not" }));

      const output = await played.step(run);

      expect(plain(output.blocks)).toEqual(["I would rather not"]);
      expect(output.refusal).toBe("I would rather not");
    });

    test("that holds nothing is no reply, and is tried again", async () => {
      const { run, session } = given();
      const played = session();
      played.say(scripted({}, { text: "now" }));

      await expect(played.step(run)).rejects.toMatchObject({
        code: "INVALID_RESPONSE",
        retryable: true,
        message: expect.stringContaining("holds nothing"),
      });
    });

    test("that is large comes whole", async () => {
      const { run, session } = given();
      const played = session();
      const text = "0123456789abcdef".repeat(4_000);
      played.say(scripted({ text }));

      expect(plain((await played.step(run)).blocks)).toEqual([text]);
    });
  });

  describe("the tools", () => {
    test("are offered as they are declared, and no others", async () => {
      const { run, session, last } = given();
      // Names that a runtime may have for tools of its own.
      const names = ["look", "bash", "view", "edit", "ask_user", "task"];
      const tools = names.map((name) => ({ ...LOOK, name }));
      const played = session({}, tools);

      await played.turn(run, scripted({ tools: [{ name: "bash", args: { at: "x" } }] }, { text: "ok" }));

      expect(last().tools).toEqual(names);
      expect(linesOf(last()).slice(-2)).toEqual(['call: bash {"at":"x"}', "result: seen"]);
    });

    test("may be none, and then none is offered", async () => {
      const { run, session, last } = given();
      const played = session({}, []);
      played.say(scripted({ text: "no hands" }));

      expect(plain((await played.step(run)).blocks)).toEqual(["no hands"]);
      expect(last().tools).toEqual([]);
    });
  });
}

type Entries = ReturnType<Given["last"]>["entries"];

function callsAndResults(entries: Entries): {
  calls: readonly { readonly id: string; readonly arguments: unknown }[];
  results: readonly { readonly id: string; readonly text: string }[];
} {
  return {
    calls: entries.flatMap((entry) => (entry.role === "assistant" ? entry.calls : [])),
    results: entries.flatMap((entry) => (entry.role === "results" ? entry.results : [])),
  };
}
