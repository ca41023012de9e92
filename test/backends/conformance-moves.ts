/** Part of the conformance suite: conversations that come from another backend, go there and come back. */
import { describe, expect, test } from "vitest";
import type { SteppedBackend } from "../../backends/backend.ts";
import { createOpenAiBackend } from "../../backends/openai/backend.ts";
import { type ModelEndpoint, startModelEndpoint } from "../support/model-endpoint.ts";
import { linesOf, readConversation, type SeenConversation } from "../support/seen-conversation.ts";
import { failureOf, type Given } from "./backend-under-test.ts";
import { KEY, type PlayedSession, type RunStep, scripted } from "./played-session.ts";

/** A whole turn of another backend, with all kinds of blocks that it may leave. */
const AWAY = scripted({ think: "hm", text: "wait", tools: [{ name: "look", args: { at: "sea" } }] }, { text: "blue" });
const AWAY_LINES = [`user: ${AWAY}`, "assistant: wait", 'call: look {"at":"sea"}', "result: seen", "assistant: blue"];
const HERE = scripted({ think: "ho", tools: [{ name: "look", args: { at: "hill" } }] }, { text: "green" });
const HERE_LINES = [`user: ${HERE}`, 'call: look {"at":"hill"}', "result: seen"];

interface Elsewhere extends AsyncDisposable {
  readonly run: RunStep;
  last(): SeenConversation;
}

export function describeMoves(given: () => Given): void {
  describe("a conversation between backends", () => {
    test("is carried over from another one by its transcript alone", async () => {
      await using away = await startElsewhere();
      const { run, session, last, entry } = given();
      const played = session();
      await awayTurn(played, away);

      const { blocks } = await played.turn(run, HERE);

      expect(blocks).toEqual([{ type: "text", text: "green" }]);
      expect(linesOf(last())).toEqual([...AWAY_LINES, ...HERE_LINES]);
      // A thought is signed or encrypted for those who thought it, and refused by everybody else.
      if (entry.name !== "openai") expect(thoughtsOf(last())).not.toContain("hm");
    });

    test("is carried over in the middle of a turn, with calls that were made there", async () => {
      await using away = await startElsewhere();
      const { run, session, last } = given();
      const played = session();
      played.say(AWAY);
      await played.step(away.run);
      played.state = undefined;
      played.answer();

      const { blocks } = await played.step(run);

      expect(blocks).toEqual([{ type: "text", text: "blue" }]);
      expect(linesOf(last())).toEqual(AWAY_LINES.slice(0, -1));
    });

    test("is understood by another one after it was here", async () => {
      await using away = await startElsewhere();
      const { run, session, entry } = given();
      const played = session();
      await played.turn(run, HERE);

      played.state = undefined;
      await played.turn(away.run, AWAY);

      expect(linesOf(away.last())).toEqual([...HERE_LINES, "assistant: green", ...AWAY_LINES.slice(0, -1)]);
      if (entry.name !== "openai") expect(thoughtsOf(away.last())).not.toContain("ho");
    });

    test("comes back with the state that it had here, and lacks nothing of what was said in between", async () => {
      await using away = await startElsewhere();
      const { run, session, last } = given();
      const played = session();
      await played.turn(run, HERE);
      const { state } = played;
      await played.turn(away.run, AWAY);
      played.state = state;

      const next = scripted({ text: "and back" });
      const { blocks } = await played.turn(run, next);

      expect(blocks).toEqual([{ type: "text", text: "and back" }]);
      expect(linesOf(last())).toEqual([...HERE_LINES, "assistant: green", ...AWAY_LINES, `user: ${next}`]);
    });

    test("comes back in the middle of a turn that it left here", async () => {
      await using away = await startElsewhere();
      const { run, session, last } = given();
      const played = session();
      const call = (at: string): object => ({ tools: [{ name: "look", args: { at } }] });
      const prompt = scripted(call("a"), call("b"), call("c"), { text: "all seen" });
      played.say(prompt);
      await played.step(run);
      played.answer();
      const { state } = played;
      await played.step(away.run);
      played.answer();
      played.state = state;

      await played.step(run);
      played.answer();
      const { blocks } = await played.step(run);

      expect(blocks).toEqual([{ type: "text", text: "all seen" }]);
      const pairs = ["a", "b", "c"].flatMap((at) => [`call: look {"at":"${at}"}`, "result: seen"]);
      expect(linesOf(last())).toEqual([`user: ${prompt}`, ...pairs]);
    });

    test("keeps a message whose turn failed, and shows it with the next one", async () => {
      const { run, session, last } = given();
      const played = session();
      await played.turn(run, HERE);
      const [failing, next] = [scripted({ status: 400, text: "no" }), scripted({ text: "ok" })];
      played.say(failing);
      await failureOf(played.step(run));

      await played.turn(run, next);

      const end = ["assistant: green", `user: ${failing}`, `user: ${next}`];
      expect(linesOf(last())).toEqual([...HERE_LINES, ...end]);
    });

    test("of a session's beginning may have several messages before the first reply", async () => {
      const { run, session, last } = given();
      const played = session();
      played.say("first of all");
      played.say("and then");
      const prompt = scripted({ text: "ok" });

      await played.turn(run, prompt);

      expect(linesOf(last())).toEqual(["user: first of all", "user: and then", `user: ${prompt}`]);
    });
  });
}

function thoughtsOf({ entries }: SeenConversation): readonly string[] {
  return entries.flatMap((one) => (one.role === "assistant" ? one.thoughts : []));
}

async function awayTurn(played: PlayedSession, away: Elsewhere): Promise<void> {
  await played.turn(away.run, AWAY);
  played.state = undefined; // Another backend's is never given.
}

/** The openai backend at an endpoint of its own. */
async function startElsewhere(): Promise<Elsewhere> {
  const model: ModelEndpoint = await startModelEndpoint();
  const options = { apiKey: KEY, baseUrl: model.url, defaultModel: "scripted-model" };
  const backend: SteppedBackend = createOpenAiBackend(options);
  return {
    // Always over the wire that leaves the most in a transcript.
    run: (input, sink, signal) => {
      const agent = { ...input.agent, modelSettings: { api: "responses" as const } };
      return backend.step({ ...input, agent, state: undefined }, sink, signal);
    },
    last: () => {
      const request = model.requests.at(-1);
      return readConversation(request?.path ?? "", request?.body);
    },
    [Symbol.asyncDispose]: () => model.close(),
  };
}
