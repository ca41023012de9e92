/** Part of the conformance suite: sessions that go on in another process, and processes that are killed in mid-step. */
import { describe, expect, test } from "vitest";
import { linesOf } from "../support/seen-conversation.ts";
import { elsewhere, startElsewhere } from "./backend-process.ts";
import { type Given, SLOW_MS } from "./backend-under-test.ts";
import { CheckedSink, scripted } from "./played-session.ts";

export function describeProcesses(given: () => Given): void {
  describe("in other processes", () => {
    test(
      "a session goes on at each boundary, with nothing but its transcript and state",
      async () => {
        const { session, last, recipe } = given();
        const played = session({ instructions: "be brief" });
        const look = (at: string) => ({ name: "look", args: { at } });
        const calls = { think: "where?", text: "let me see", tools: [look("a"), look("b")] };
        const prompt = scripted(calls, { tools: [look("c")] }, { text: "unsteered" });
        const run = elsewhere(recipe);
        const seen = ({ arguments: args }: { readonly arguments: unknown }): { text: string } => ({
          text: `at ${JSON.stringify(args)}`,
        });

        played.say(prompt);
        await played.step(run); // After the first prompt.
        played.answer(seen);
        await played.step(run); // After calls and their results.
        played.answer(seen);
        const steer = `turn back ${scripted({ text: "steered" })}`;
        played.say(steer);
        await played.step(run); // After a message that joined the turn.
        const next = scripted({ tools: [look("d")] }, { text: "the end" });
        played.say(next);
        await played.step(run); // After a turn's end.
        played.answer(seen);
        const { blocks } = await played.step(run);

        expect(blocks).toEqual([{ type: "text", text: "the end" }]);
        expect(last().system).toEqual(["be brief"]);
        const call = (at: string): string => `call: look {"at":"${at}"}`;
        const result = (at: string): string => `result: at {"at":"${at}"}`;
        expect(linesOf(last())).toEqual([
          ...[`user: ${prompt}`, "assistant: let me see", call("a"), call("b"), result("a"), result("b")],
          ...[call("c"), result("c"), `user: ${steer}`, "assistant: steered"],
          ...[`user: ${next}`, call("d"), result("d")],
        ]);
      },
      SLOW_MS,
    );

    test.each(["first", "second"] as const)(
      "a kill in the middle of the %s step loses that step and nothing else",
      async (which) => {
        const { run, session, last, recipe } = given();
        const played = session();
        const slow = { text: "a text that is long enough to be killed in its middle", gapMs: 100 };
        const calls = { tools: [{ name: "look" }, { name: "look" }] };
        const steps = which === "first" ? [{ ...slow, ...calls }, { text: "end" }] : [calls, slow];
        const prompt = scripted(...steps);
        played.say(prompt);
        if (which === "second") {
          await played.step(elsewhere(recipe));
          played.answer();
        }

        const heard = Promise.withResolvers<void>();
        const doomed = startElsewhere({ recipe, input: played.input }, new CheckedSink(() => heard.resolve()));
        await Promise.race([heard.promise, doomed.done]);
        doomed.kill();
        await expect(doomed.done).rejects.toThrow("SIGKILL");
        const again = await played.step(elsewhere(recipe));

        expect(again.blocks[0]).toEqual({ type: "text", text: slow.text });
        if (which === "first") {
          played.answer();
          await played.step(run);
        }
        const lines = linesOf(last());
        expect(lines.filter((line) => line === "result: seen")).toHaveLength(2);
        expect(lines.filter((line) => line === `user: ${prompt}`)).toHaveLength(1);
      },
      SLOW_MS,
    );
  });
}
