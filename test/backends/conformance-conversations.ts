/** Part of the conformance suite: what the model is shown of a conversation, over many steps and turns. */
import { describe, expect, test } from "vitest";
import { INTERRUPTED_NOTE } from "../../backends/interrupted-note.ts";
import type { ToolOutcome } from "../../contract/blocks.ts";
import { linesOf } from "../support/seen-conversation.ts";
import { makeBackend } from "./backend-process.ts";
import { type Given, SLOW_MS } from "./backend-under-test.ts";
import { inOrder } from "./conformance-contents.ts";
import { scripted } from "./played-session.ts";

const WORDS: readonly [ToolOutcome, string][] = [
  ["error", "the tool failed: no such place"],
  ["denied", "A person denied this call: not on a Friday"],
  ["interrupted", "The turn was stopped while this tool ran."],
  ["unknown", "Whether this tool ran is not known."],
];

export function describeConversations(given: () => Given): void {
  describe("a conversation", () => {
    test.each(WORDS)("goes on after a call with outcome %s, whose words reach the model", async (outcome, text) => {
      const { run, session, last } = given();
      const played = session();

      const { blocks } = await played.turn(run, scripted({ tools: [{ name: "look" }] }, { text: "I see" }), () => ({
        outcome,
        text,
      }));

      expect(blocks).toEqual([{ type: "text", text: "I see" }]);
      expect(linesOf(last()).slice(-2)).toEqual(["call: look {}", `result: ${text}`]);
    });

    test("goes on after calls whose names no provider takes back as they are", async () => {
      const { run, session, last } = given();
      const played = session();
      const names = ["functions.look", "größe", "", "n".repeat(3_000), "look"];
      const unknown = { text: "There is no such tool." };

      const { blocks } = await played.turn(
        run,
        scripted({ tools: names.map((name) => ({ name })) }, { text: "so be it" }),
        () => unknown,
      );

      expect(blocks).toEqual([{ type: "text", text: "so be it" }]);
      const made = last().entries.flatMap((entry) => (entry.role === "assistant" ? entry.calls : []));
      const shown = ["functions_look", "gr__e", "unnamed", "n".repeat(64), "look"];
      expect(made.map(({ name }) => name)).toEqual(shown);
      const lines = linesOf(last()).filter((line) => line.startsWith("result: "));
      expect(lines).toEqual(shown.map(() => `result: ${unknown.text}`));
    });

    test("takes in messages that steer, behind the results of the step before", async () => {
      const { run, session, last, entry } = given();
      expect(entry.capabilities.steering).toBe(true);
      const played = session();
      const call = { tools: [{ name: "look" }] };
      const prompt = scripted(call, call, { text: "unsteered" });
      played.say(prompt);
      await played.step(run);
      played.answer();

      played.say("rather go north");
      played.say(`and be quick: ${scripted({ tools: [{ name: "look" }] }, { text: "steered" })}`);
      await played.step(run);
      const steered = linesOf(last());
      played.answer(() => ({ text: "seen again" }));
      const { blocks } = await played.step(run);

      const expected = ["result: seen", "user: rather go north", expect.stringMatching(/^user: and be quick/)];
      expect(steered).toEqual([`user: ${prompt}`, "call: look {}", ...expected]);
      expect(blocks).toEqual([{ type: "text", text: "steered" }]);
      expect(linesOf(last())).toEqual([...steered, "call: look {}", "result: seen again"]);
    });

    test("has the instructions, word for word, as its only system text", async () => {
      const { run, session, last } = given();
      const instructions = "Be brief.\n\n  Never say “please”.\n<b>&amp;</b> {{x}}";
      const played = session({ instructions });

      await played.turn(run, scripted({ tools: [{ name: "look" }] }, { text: "ok" }));
      await played.turn(run, scripted({ text: "ok" }));

      expect(last().system).toEqual([instructions]);
    });

    test("has no system text without instructions", async () => {
      const { run, session, last } = given();
      const played = session();

      await played.turn(run, scripted({ text: "ok" }));

      expect(last().system.join("").trim()).toBe("");
    });

    test("takes new instructions, tools and another model from the next step on", async () => {
      const { run, session, last } = given();
      const played = session({ instructions: "old", model: "gpt-5" });
      await played.turn(run, scripted({ text: "one" }));

      played.agent = { ...played.agent, instructions: "new", model: "gpt-5-mini" };
      const prompt = scripted({ text: "two" });
      const { model } = await played.turn(run, prompt);

      expect(last()).toMatchObject({ system: ["new"], model: "gpt-5-mini" });
      expect(model).toBe("gpt-5-mini");
      expect(linesOf(last())).toEqual([expect.any(String), "assistant: one", `user: ${prompt}`]);
    });

    test(
      "of sixty steps ends right, and its last request holds each result once and in order",
      async () => {
        const { session, last, recipe } = given();
        const played = session();
        const prompt = scripted({ tools: [{ name: "look" }], times: 59 }, { text: "at the end" });
        played.say(prompt);
        let backend = await makeBackend(recipe);

        let steps = 0;
        for (let output = await played.step(backend.step.bind(backend)); ; steps++) {
          if (output.blocks.every((block) => block.type !== "tool_call") || steps > 60) break;
          played.answer(() => ({ text: `result ${steps}` }));
          // As if the session had come to another worker, which has nothing of it.
          if (steps % 20 === 19) {
            await backend[Symbol.asyncDispose]?.();
            backend = await makeBackend(recipe);
          }
          output = await played.step(backend.step.bind(backend));
        }
        await backend[Symbol.asyncDispose]?.();

        expect(steps).toBe(59);
        expect(played.transcript.at(-1)?.blocks).toEqual([{ type: "text", text: "at the end" }]);
        const pairs = Array.from({ length: 59 }, (_, i) => ["call: look {}", `result: result ${i}`]);
        expect(linesOf(last())).toEqual([`user: ${prompt}`, ...pairs.flat()]);
      },
      SLOW_MS,
    );

    test("with a reply that was stopped shows what there was of it, and says so", async () => {
      const { run, session, last } = given();
      const played = session();
      const [first, next] = [scripted({ text: "never whole" }), scripted({ text: "ok" })];
      played.say(first);
      played.place({ role: "assistant", blocks: [{ type: "text", text: "I was about to" }], interrupted: true });

      await played.turn(run, next);

      const parts = [first, "I was about to", INTERRUPTED_NOTE, next];
      expect(inOrder(linesOf(last()).join("\n"), parts)).toBe(true);
    });

    test("with a reply that was stopped after others shows it in its place", async () => {
      const { run, session, last } = given();
      const played = session();
      await played.turn(run, scripted({ tools: [{ name: "look" }] }, { text: "the first answer" }));
      const [stopped, next] = [scripted({ text: "never whole" }), scripted({ text: "ok" })];
      played.say(stopped);
      played.place({ role: "assistant", blocks: [{ type: "text", text: "I was about to" }], interrupted: true });

      await played.turn(run, next);

      const parts = ["result: seen", "assistant: the first answer", stopped, "I was about to", INTERRUPTED_NOTE, next];
      expect(inOrder(linesOf(last()).join("\n"), parts)).toBe(true);
    });

    test("with a turn that was stopped while calls were open goes on with their results and the next message", async () => {
      const { run, session, last } = given();
      const played = session();
      await played.turn(run, scripted({ text: "before" }));
      const [stopped, next] = [scripted({ tools: [{ name: "look" }] }), scripted({ text: "after" })];
      played.say(stopped);
      await played.step(run);
      played.answer(() => ({ outcome: "interrupted", text: "The turn was stopped while this tool ran." }));

      await played.turn(run, next);

      const end = [`user: ${stopped}`, "call: look {}", expect.stringMatching(/^result: .*stopped/), `user: ${next}`];
      expect(linesOf(last()).slice(-4)).toEqual(end);
    });

    test("of many turns without a call keeps each turn once", async () => {
      const { run, session, last } = given();
      const played = session();
      const prompts = Array.from({ length: 4 }, (_, i) => scripted({ text: `answer ${i}` }));

      for (const prompt of prompts) await played.turn(run, prompt);

      const lines = prompts.flatMap((prompt, i) => [`user: ${prompt}`, `assistant: answer ${i}`]);
      expect(linesOf(last())).toEqual(lines.slice(0, -1));
    });
  });
}
