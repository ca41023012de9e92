/** A plugin's tool: what becomes of its result, its errors, its time, its stop, its log. */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { SandboxError } from "../../sandbox/provider.ts";
import type { PluginContext } from "../../tools/plugin.ts";
import { openPluginWorkshop, SECRET } from "./plugin-workshop.ts";

const never = (): Promise<never> => new Promise(() => undefined);

/** Ends, by throwing, when it is told to. */
function obedient(_args: unknown, { signal }: PluginContext): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

describe("its result", () => {
  test.each([
    ["a text", "as it is\n", "as it is\n"],
    ["an empty text", "", ""],
    ["an object", { a: [1, null, { b: "ü" }] }, '{"a":[1,null,{"b":"ü"}]}'],
    ["a list", [1, "2"], '[1,"2"]'],
    ["a number", 0, "0"],
    ["false", false, "false"],
    ["null", null, "null"],
    ["a date", new Date(0), '"1970-01-01T00:00:00.000Z"'],
    ["nothing", undefined, "work is done; it has no result."],
    ["a promise", Promise.resolve({ a: 1 }), '{"a":1}'],
    ["a text with what no database takes", "a\0b\ud800c", "a\ufffdb\ufffdc"],
  ])("%s is told to the model", async (_, value, text) => {
    await using given = await openPluginWorkshop(() => value);

    expect(await given.call()).toEqual({ outcome: "ok", text });
  });

  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  test.each([
    ["a big integer", 1n, /cannot be written as JSON: .*BigInt/],
    ["a circle", circle, /cannot be written as JSON: .*circular/],
    ["a function", () => 1, /cannot be written as JSON: it is a function/],
    ["a symbol", Symbol("x"), /cannot be written as JSON: it is a symbol/],
    [
      "one whose toJSON throws",
      {
        toJSON() {
          throw new Error("no");
        },
      },
      /cannot be written as JSON: no/,
    ],
  ])("%s is an error in words", async (_, value, words) => {
    await using given = await openPluginWorkshop(() => value);

    expect(await given.call()).toEqual({ outcome: "error", text: expect.stringMatching(words) });
  });

  test("a long one is cut between two characters, with words that say how much there was", async () => {
    await using given = await openPluginWorkshop(() => "€".repeat(100_000));

    const { outcome, text } = await given.call();

    expect(outcome).toBe("ok");
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(LIMITS.toolResultBytes);
    expect(text).toMatch(/^€+\n\[the result has 300000 bytes; the first \d+ are shown, and the rest is not kept\]$/);
  });
});

describe("what it throws", () => {
  const failing = new Error("the weather is away");
  failing.stack = "Error: the weather is away\n    at secretPlace (/home/me/tools.ts:1:1)";
  test.each([
    ["an error", failing, "work failed: the weather is away"],
    ["a text", "just words", "work failed: just words"],
    ["an object", { code: 7 }, 'work failed: {"code":7}'],
    ["nothing", undefined, "work failed: undefined"],
    ["an error without words", new TypeError(), "work failed: TypeError"],
    [
      "a message with a stack in it",
      new Error("no\n    at f (/home/me/a.ts:1:2)\n    at async g (file:///x.js:3:4)"),
      "work failed: no",
    ],
    ["a key of some maker", new Error("401 for sk-abcdefgh12345678"), "work failed: 401 for [redacted]"],
    ["the worker's own secret", new Error(`login ${SECRET} refused`), "work failed: login [redacted] refused"],
  ])("%s is told without stack and secret", async (_, thrown, text) => {
    await using given = await openPluginWorkshop(() => {
      throw thrown;
    });

    expect(await given.call()).toEqual({ outcome: "error", text });
  });

  test("an error that is given back instead is one too", async () => {
    await using given = await openPluginWorkshop(() => new RangeError(`too far, ${SECRET}`));

    expect(await given.call()).toEqual({ outcome: "error", text: "work failed: too far, [redacted]" });
  });

  test("an object that cannot be looked at is told as such", async () => {
    await using given = await openPluginWorkshop(() => {
      throw Object.defineProperty({}, "message", {
        get: () => {
          throw new Error("trap");
        },
      });
    });

    expect(await given.call()).toEqual({ outcome: "error", text: "work failed: what it threw cannot be shown" });
  });

  test("a long message is cut, and no half of a secret stays at the cut", async () => {
    await using given = await openPluginWorkshop(() => Promise.reject(new Error(`${"x".repeat(1_980)}${SECRET}yyy`)));

    const { text } = await given.call();

    expect(text.length).toBeLessThanOrEqual(2_000);
    expect(text).not.toContain("correct");
  });

  test("its stack goes to the worker's log, without secrets", async () => {
    await using given = await openPluginWorkshop(() => Promise.reject(new Error(`with ${SECRET}`)));

    await given.call();

    expect(given.logged).toEqual([
      {
        level: "warn",
        message: "a tool failed",
        fields: {
          sessionId: "ses_tools",
          callId: expect.stringMatching(/^call_/),
          tool: "work",
          stack: expect.stringMatching(/^Error: with \[redacted\]\n {4}at /),
        },
      },
    ]);
  });

  test("a lost sandbox is not the tool's error, and is left to whoever runs the call", async () => {
    await using given = await openPluginWorkshop(() => Promise.reject(new SandboxError("lost", "gone")));

    await expect(given.call()).rejects.toMatchObject({ kind: "lost" });
  });
});

describe("its time", () => {
  test("when it is up the signal aborts, and the call is an error that says so", async () => {
    await using given = await openPluginWorkshop(obedient, { timeoutMs: 30 });

    expect(await given.call()).toEqual({
      outcome: "error",
      text: "work timed out after 30 ms and was told to stop.",
    });
  });

  test("what it has in the moment after is told too", async () => {
    const partly = (_args: unknown, { signal }: PluginContext): Promise<string> =>
      new Promise((resolve) => signal.addEventListener("abort", () => resolve("the first half")));
    await using given = await openPluginWorkshop(partly, { timeoutMs: 30 });

    expect(await given.call()).toEqual({
      outcome: "error",
      text: "work timed out after 30 ms and was told to stop.\nWhat it had by then: the first half",
    });
  });

  test("one that does not listen is left behind, and may do nothing more in the sandbox", async () => {
    let late: Promise<unknown> | undefined;
    const deaf = (_args: unknown, { sandbox }: PluginContext): Promise<never> => {
      late = delay(60).then(() => sandbox.writeFile("late", "x"));
      late.catch(() => undefined);
      return never();
    };
    await using given = await openPluginWorkshop(deaf, { timeoutMs: 30 });
    const from = Date.now();

    const result = await given.call();

    expect(result).toMatchObject({ outcome: "error", text: expect.stringContaining("did not stop within 2000 ms") });
    expect(Date.now() - from).toBeLessThan(LIMITS.toolStopMs + 1_500);
    await expect(late).rejects.toThrow("work timed out after 30 ms");
    expect(await given.workshop.sandbox.stat("late")).toBeUndefined();
  });

  test("after its end its signal is aborted, so that nothing of it goes on", async () => {
    let kept: PluginContext | undefined;
    await using given = await openPluginWorkshop((_args, context) => {
      kept = context;
      return "done";
    });

    await given.call();

    expect(kept?.signal.aborted).toBe(true);
    await expect(kept?.sandbox.exec("touch late")).rejects.toThrow("the call of work has ended");
  });
});

describe("a stop", () => {
  const stopped = (isStopped: boolean): { signal: AbortSignal; isStopped: () => boolean; stop: () => void } => {
    const controller = new AbortController();
    return {
      signal: controller.signal,
      isStopped: () => isStopped && controller.signal.aborted,
      stop: () => controller.abort(new Error("told to stop")),
    };
  };

  test("of the turn ends it as interrupted", async () => {
    await using given = await openPluginWorkshop(obedient);
    const { stop, ...context } = stopped(true);

    const call = given.call(context);
    stop();

    expect(await call).toEqual({ outcome: "interrupted", text: "work was interrupted." });
  });

  test("of the turn keeps what it still gave, and says when it did not stop", async () => {
    const slow = (_args: unknown, { signal }: PluginContext): Promise<string> =>
      new Promise((resolve) => signal.addEventListener("abort", () => resolve("half")));
    await using gives = await openPluginWorkshop(slow);
    await using deaf = await openPluginWorkshop(never);
    const [first, second] = [stopped(true), stopped(true)];

    const calls = [gives.call(first), deaf.call(second)];
    first.stop();
    second.stop();

    expect(await calls[0]).toEqual({
      outcome: "interrupted",
      text: "work was interrupted.\nWhat it had by then: half",
    });
    expect(await calls[1]).toMatchObject({
      outcome: "interrupted",
      text: expect.stringContaining("what it still does is unknown"),
    });
  });

  test("of the worker leaves the call to its next attempt", async () => {
    await using given = await openPluginWorkshop(obedient);
    const { stop, ...context } = stopped(false);

    const call = given.call(context);
    stop();

    await expect(call).rejects.toThrow("told to stop");
  });

  test("of the worker that meets the end of the work keeps its result", async () => {
    const quick = (_args: unknown, { signal }: PluginContext): Promise<string> =>
      new Promise((resolve) => signal.addEventListener("abort", () => resolve("whole")));
    await using given = await openPluginWorkshop(quick);
    const { stop, ...context } = stopped(false);

    const call = given.call(context);
    stop();

    expect(await call).toEqual({ outcome: "ok", text: "whole" });
  });
});

describe("its context", () => {
  test("tells the session, the call, the attempt and the agent's variables", async () => {
    const seen: unknown[] = [];
    await using given = await openPluginWorkshop((_args, { sessionId, callId, attempt, environment }) => {
      seen.push({ sessionId, callId, attempt, environment });
    });
    const call = given.newCall();

    await call.attempt("work", {}, { environment: { A: "1" } });
    await call.attempt("work", {}, { environment: { A: "1" } });

    const { callId } = call;
    expect(seen).toEqual(
      [1, 2].map((attempt) => ({ sessionId: "ses_tools", callId, attempt, environment: { A: "1" } })),
    );
  });

  test("logs lines that say where they come from, and hold no secret", async () => {
    await using given = await openPluginWorkshop((_args, { log }) => {
      log("looking", { city: "Paris", days: 3, callId: "call_other" });
      log.debug(`with ${SECRET}`, { password: "hunter2", headers: { authorization: "Bearer abc" }, n: null });
      log.warn("w");
      log.error("e", { big: 1n as unknown });
    });

    await given.call();

    const place = { sessionId: "ses_tools", callId: expect.stringMatching(/^call_(?!other)/), tool: "work" };
    expect(given.logged).toEqual([
      { level: "info", message: "looking", fields: { city: "Paris", days: 3, ...place } },
      {
        level: "debug",
        message: "with [redacted]",
        fields: { password: "[redacted]", headers: expect.not.stringContaining("abc"), n: null, ...place },
      },
      { level: "warn", message: "w", fields: place },
      { level: "error", message: "e", fields: { big: "(cannot be shown)", ...place } },
    ]);
  });

  test("is described to Temporal by the tool's name alone", async () => {
    await using given = await openPluginWorkshop(() => 1);

    expect(given.workshop.summary("work", { token: "x" })).toBe("work");
  });
});
