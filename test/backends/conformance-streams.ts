/** Part of the conformance suite: a first step whose stream breaks or which is refused. Each is told once, in words and with its code. */
import { describe, expect, test } from "vitest";
import type { TurnCode } from "../../contract/errors.ts";
import type { ScriptStep } from "../support/model-script.ts";
import { linesOf } from "../support/seen-conversation.ts";
import { failureOf, type Given, SILENCES } from "./backend-under-test.ts";
import { CheckedSink, KEY, scripted } from "./played-session.ts";

/** A first step in a process may be slow by itself, so the suite's silence is longer than that. */
const SILENCE_MS = 800;

const REFUSALS: readonly [string, ScriptStep, TurnCode, boolean][] = [
  ["400", { status: 400, text: "this field is not known" }, "INVALID_INPUT", false],
  ["401", { status: 401, text: `incorrect key provided: ${KEY}` }, "AUTH_INVALID", false],
  ["403", { status: 403, text: "not for you" }, "PERMISSION_DENIED", false],
  ["404", { status: 404, text: "no such model" }, "MODEL_NOT_FOUND", false],
  ["429", { status: 429, text: "slow down", headers: { "retry-after": "7" } }, "RATE_LIMIT", true],
  ["500", { status: 500, text: "it broke" }, "PROVIDER_ERROR", true],
  ["503", { status: 503, text: "no room" }, "MODEL_OVERLOADED", true],
  ["529", { status: 529, text: "no room" }, "MODEL_OVERLOADED", true],
  ["400 of a conversation too long", { status: 400, text: "prompt is too long" }, "CONTEXT_OVERFLOW", false],
];

const BREAKS: readonly [string, ScriptStep][] = [
  ["a socket that is cut", { text: "half of it", cut: true }],
  ["an end without the last event", { text: "half of it", eofNoEnd: true }],
];

export function describeStreams(given: () => Given): void {
  describe("a stream", () => {
    test.each(BREAKS)("with %s is a network failure that may be tried again, after one call", async (_, step) => {
      const { run, session, seen } = given();
      const played = session();
      const before = seen().length;
      const sink = new CheckedSink();
      played.say(scripted(step));

      const error = await failureOf(played.step(run, sink));

      expect(error).toMatchObject({ code: "NETWORK", retryable: true });
      expect(sink.streamed).toEqual(["half of it"]);
      expect(seen().length - before).toBe(1);
    });

    // At the same time as the next one: they only wait.
    test.concurrent.each(SILENCES)(
      "that is silent %s for the idle timeout is a timeout, and is closed",
      async (_, step) => {
        const { run, session, seen, until } = given();
        const played = session({ limits: { modelIdleTimeoutMs: SILENCE_MS } });
        const prompt = `${played.id} ${scripted(step)}`;
        played.say(prompt);

        const error = await failureOf(played.step(run));
        const call = () => seen().find(({ conversation }) => linesOf(conversation).includes(`user: ${prompt}`));
        await until(() => call()?.closedEarlyAt !== undefined);

        expect(error).toMatchObject({ code: "TIMEOUT", retryable: true });
        expect(error.message).toContain(`${SILENCE_MS} ms`);
      },
    );

    test.concurrent("that is slow but never silent is no timeout", async () => {
      const { run, session } = given();
      const played = session({ limits: { modelIdleTimeoutMs: SILENCE_MS } });
      const text = "x".repeat(12 * 20);
      played.say(scripted({ text, gapMs: 60 }));

      expect((await played.step(run)).blocks).toEqual([{ type: "text", text }]);
    });

    test("that says its model failed is a failure that may be tried again", async () => {
      const { run, session } = given();
      const played = session();
      const errorEvent = { code: "server_error", type: "api_error", message: "it broke in the middle" };
      played.say(scripted({ text: "half", errorEvent }));

      expect(await failureOf(played.step(run))).toMatchObject({ retryable: true });
    });

    test("that ends at the limit of output tokens is not taken for a whole reply", async () => {
      const { run, session } = given();
      const played = session();
      played.say(scripted({ text: "half of", incomplete: "max_output_tokens" }));

      expect(await failureOf(played.step(run))).toMatchObject({ code: "INVALID_RESPONSE", retryable: false });
    });
  });

  describe("a refusal", () => {
    test.each(REFUSALS)(
      "%s has its code, after one call, and the step can be tried again",
      async (_, step, code, retryable) => {
        const { run, session, seen } = given();
        const played = session();
        const before = seen().length;
        played.say(scripted(step));

        const error = await failureOf(played.step(run));

        expect([error.code, error.retryable]).toEqual([code, retryable]);
        expect(error.retryAfterMs).toBe(code === "RATE_LIMIT" ? 7_000 : undefined);
        expect(error.message).not.toContain(KEY);
        expect(seen().length - before).toBe(1);
      },
    );
  });
}
