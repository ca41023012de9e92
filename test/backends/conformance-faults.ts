/** Part of the conformance suite: stops, failures in mid-turn and attempts that are made again lose nothing and repeat nothing. */
import { describe, expect, test } from "vitest";
import { linesOf } from "../support/seen-conversation.ts";
import { failureOf, type Given, SILENCES } from "./backend-under-test.ts";
import { CheckedSink, scripted } from "./played-session.ts";

/** From a stop until the model's side sees its stream closed. */
const STOP_MS = 1_000;

export function describeFaults(given: () => Given): void {
  describe("a stop", () => {
    test.each(SILENCES)("%s throws ABORTED and closes the stream to the model at once", async (_, step) => {
      const { run, session, seen, until } = given();
      const before = seen().length;
      const played = session();
      const stop = new AbortController();
      const heard = Promise.withResolvers<void>();
      played.say(scripted(step));

      const failed = failureOf(played.step(run, new CheckedSink(() => heard.resolve()), stop.signal));
      await until(() => seen().length > before);
      if (step.stall === true) await heard.promise;
      const stoppedAt = Date.now();
      stop.abort();
      const error = await failed;
      const thrownAt = Date.now();
      await until(() => seen().at(-1)?.closedEarlyAt !== undefined);

      expect(error).toMatchObject({ code: "ABORTED", retryable: false });
      expect(thrownAt - stoppedAt).toBeLessThan(STOP_MS);
      expect((seen().at(-1)?.closedEarlyAt ?? 0) - stoppedAt).toBeLessThan(STOP_MS);
    });

    test("before the start calls no model", async () => {
      const { run, session, seen } = given();
      const before = seen().length;
      const played = session();
      played.say(scripted({ text: "never" }));

      const error = await failureOf(played.step(run, new CheckedSink(), AbortSignal.abort()));

      expect(error.code).toBe("ABORTED");
      expect(seen().length).toBe(before);
    });

    test("leaves the session usable: what was kept of the reply is shown, and the next turn ends", async () => {
      const { run, session, last } = given();
      const played = session();
      await played.turn(run, scripted({ tools: [{ name: "look" }] }, { text: "before" }));
      const stop = new AbortController();
      played.say(scripted({ text: "a beginning", stall: true }));
      await failureOf(played.step(run, new CheckedSink(() => stop.abort()), stop.signal));
      played.place({ role: "assistant", blocks: [{ type: "text", text: "a beginn" }], interrupted: true });

      const { blocks } = await played.turn(run, scripted({ text: "after" }));

      expect(blocks).toEqual([{ type: "text", text: "after" }]);
      const lines = linesOf(last());
      expect(lines).toContain("assistant: a beginn");
      expect(lines.filter((line) => line === "result: seen")).toHaveLength(1);
    });
  });

  describe("a refusal", () => {
    test("in mid-turn loses nothing: the same step again shows each result once", async () => {
      const { run, session, last } = given();
      const played = session();
      const fails = { status: 500, times: 2 };
      const text = `after two failures of ${played.id}`;
      const prompt = scripted({ tools: [{ name: "look" }, { name: "look" }] }, { text, fails });
      played.say(prompt);
      await played.step(run);
      played.answer();
      await failureOf(played.step(run));
      await failureOf(played.step(run));

      const { blocks } = await played.step(run);

      expect(blocks).toEqual([{ type: "text", text }]);
      const two = ["call: look {}", "call: look {}", "result: seen", "result: seen"];
      expect(linesOf(last())).toEqual([`user: ${prompt}`, ...two]);
    });
  });

  describe("an attempt", () => {
    test("whose reply was lost before it was committed is repeated from the same input, and leaves nothing", async () => {
      const { run, session, last } = given();
      const played = session();
      const prompt = scripted({ tools: [{ name: "look" }, { name: "look" }] }, { text: "end" });
      played.say(prompt);

      await run(played.input, new CheckedSink(), new AbortController().signal);
      await played.step(run);
      played.answer();
      await run(played.input, new CheckedSink(), new AbortController().signal);
      const { blocks } = await played.step(run);

      expect(blocks).toEqual([{ type: "text", text: "end" }]);
      const two = ["call: look {}", "call: look {}", "result: seen", "result: seen"];
      expect(linesOf(last())).toEqual([`user: ${prompt}`, ...two]);
    });

    test("that nobody waits for any more does not disturb the next one", async () => {
      const { run, session, last } = given();
      const played = session();
      const prompt = scripted({ tools: [{ name: "look" }] }, { text: "a text that takes its time", gapMs: 30 });
      played.say(prompt);
      await played.step(run);
      played.answer();
      const superseded = new AbortController();
      const heard = Promise.withResolvers<void>();

      const old = failureOf(run(played.input, new CheckedSink(() => heard.resolve()), superseded.signal));
      await heard.promise;
      const next = played.step(run);
      superseded.abort();

      expect((await old).code).toBe("ABORTED");
      expect((await next).blocks).toEqual([{ type: "text", text: "a text that takes its time" }]);
      expect(linesOf(last())).toEqual([`user: ${prompt}`, "call: look {}", "result: seen"]);
    });
  });

  test("steps of many sessions at once do not mix", async () => {
    const { run, session } = given();
    const sessions = Array.from({ length: 8 }, () => session());

    const ends = await Promise.all(
      sessions.map((played, i) => {
        const call = { text: `text ${i}`, tools: [{ name: "look", args: { at: `${i}` } }], gapMs: 1 };
        return played.turn(run, scripted(call, { text: `end ${i}` }), ({ arguments: args }) => ({
          text: JSON.stringify(args),
        }));
      }),
    );

    expect(ends.map(({ blocks }) => blocks)).toEqual(sessions.map((_, i) => [{ type: "text", text: `end ${i}` }]));
    const results = sessions.map(({ transcript }) =>
      transcript.flatMap(({ blocks }) => blocks).find((block) => block.type === "tool_result"),
    );
    expect(results.map((block) => block?.text)).toEqual(sessions.map((_, i) => `{"at":"${i}"}`));
  });
}
