/** The classification of what a provider answers: code, whether a retry may help, when, and in which words. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createOpenAiBackend } from "../../../backends/openai/backend.ts";
import type { ScriptStep } from "../../support/model-endpoint.ts";
import { anInput, failureOf, KEY, Memory, run, scripted, startWorld, WIRES, type World } from "./step-builder.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const said = (code: string, message = "words of the provider"): object => ({ error: { message, code, type: code } });

const STATUSES: readonly [string, ScriptStep, string, boolean][] = [
  ["400", { status: 400 }, "INVALID_INPUT", false],
  ["401", { status: 401 }, "AUTH_INVALID", false],
  ["402", { status: 402 }, "RATE_LIMIT", false],
  ["403", { status: 403 }, "PERMISSION_DENIED", false],
  ["404", { status: 404 }, "MODEL_NOT_FOUND", false],
  ["408", { status: 408 }, "TIMEOUT", true],
  ["409", { status: 409 }, "PROVIDER_ERROR", true],
  ["413", { status: 413 }, "INVALID_INPUT", false],
  ["422", { status: 422 }, "INVALID_INPUT", false],
  ["429", { status: 429 }, "RATE_LIMIT", true],
  ["429 without quota", { status: 429, body: said("insufficient_quota") }, "RATE_LIMIT", false],
  ["500", { status: 500 }, "PROVIDER_ERROR", true],
  ["502 in HTML", { status: 502, body: "<html><h1>Bad Gateway</h1></html>" }, "PROVIDER_ERROR", true],
  ["503", { status: 503 }, "MODEL_OVERLOADED", true],
  ["529", { status: 529 }, "MODEL_OVERLOADED", true],
  ["400 for an unknown model", { status: 400, body: said("model_not_found") }, "MODEL_NOT_FOUND", false],
  ["400 by overflow, as a code", { status: 400, body: said("context_length_exceeded") }, "CONTEXT_OVERFLOW", false],
  [
    "400 by overflow, in words",
    { status: 400, body: said("x", "prompt is too long: 9 tokens") },
    "CONTEXT_OVERFLOW",
    false,
  ],
  ["500 with x-should-retry: false", { status: 500, headers: { "x-should-retry": "false" } }, "PROVIDER_ERROR", false],
  ["400 with x-should-retry: true", { status: 400, headers: { "x-should-retry": "true" } }, "INVALID_INPUT", true],
];

const STREAMED: readonly [string, ScriptStep, string, boolean][] = [
  ["server_error", { text: "p", errorEvent: { code: "server_error", message: "m" } }, "PROVIDER_ERROR", true],
  ["rate_limit_exceeded", { text: "p", errorEvent: { code: "rate_limit_exceeded", message: "m" } }, "RATE_LIMIT", true],
  ["an error without a code", { text: "p", errorEvent: { code: null, message: "m" } }, "PROVIDER_ERROR", true],
  ["a gateway's 503 as code", { text: "p", errorEvent: { code: "503", message: "m" } }, "MODEL_OVERLOADED", true],
  ["a failed response", { text: "p", failed: { code: "server_error", message: "m" } }, "PROVIDER_ERROR", true],
  ["a failure by quota", { failed: { code: "insufficient_quota", message: "m" } }, "RATE_LIMIT", false],
  ["a failure by overflow", { failed: { code: "context_length_exceeded", message: "m" } }, "CONTEXT_OVERFLOW", false],
  ["a failure by input", { failed: { code: "invalid_prompt", message: "m" } }, "INVALID_INPUT", false],
  ["the limit of output tokens", { text: "p", incomplete: "max_output_tokens" }, "INVALID_RESPONSE", false],
  ["the limit before any text", { incomplete: "max_output_tokens" }, "INVALID_RESPONSE", false],
  ["the content filter", { text: "p", incomplete: "content_filter" }, "INVALID_RESPONSE", false],
  ["the content filter before any text", { incomplete: "content_filter" }, "INVALID_RESPONSE", false],
  ["a cut socket", { text: "p", cut: true }, "NETWORK", true],
  ["an end without the last event", { text: "p", eofNoEnd: true }, "NETWORK", true],
  ["an end without anything", { eofNoEnd: true }, "NETWORK", true],
];

describe.each(WIRES)("over the %s wire", (wire) => {
  test.each(STATUSES)("an answer of %s", async (_, step, code, retryable) => {
    const before = world.model.requests.length;

    const error = await failureOf(run(world, anInput({ wire, transcript: [scripted(step)] })));

    expect(error).toMatchObject({ code, retryable });
    expect(error.message).not.toMatch(/\n|<|\bat .*:\d+:\d+/);
    expect(world.model.requests.length - before).toBe(1);
  });

  test.each(STREAMED)("a stream that ends with %s", async (_, step, code, retryable) => {
    const error = await failureOf(run(world, anInput({ wire, transcript: [scripted(step)] })));

    expect(error).toMatchObject({ code, retryable });
  });

  test("the provider's wish when to retry is kept in each of its forms", async () => {
    const wish = async (headers: Record<string, string>): Promise<number | undefined> =>
      (await failureOf(run(world, anInput({ wire, transcript: [scripted({ status: 429, headers })] })))).retryAfterMs;

    expect(await wish({ "retry-after": "7" })).toBe(7_000);
    expect(await wish({ "retry-after": "0.5" })).toBe(500);
    expect(await wish({ "retry-after-ms": "1234", "retry-after": "7" })).toBe(1_234);
    const inAMinute = await wish({ "retry-after": new Date(Date.now() + 60_000).toUTCString() });
    expect(inAMinute).toBeGreaterThan(55_000);
    expect(inAMinute).toBeLessThanOrEqual(60_000);
    expect(await wish({ "retry-after": new Date(0).toUTCString() })).toBe(0);
    expect(await wish({ "retry-after": "soon" })).toBeUndefined();
    expect(await wish({ "retry-after": "-3" })).toBeUndefined();
    expect(await wish({})).toBeUndefined();
  });

  test.each([
    ["Rate limit reached. Please try again in 2.5s.", 2_500],
    ["Please try again in 1m2.5s. Visit https://provider.test", 62_500],
    ["Please retry after 20 seconds.", 20_000],
    ["try again in 350ms", 350],
    ["Please retry in 33.5 seconds", 33_500],
    ["Try again in 1 hour 2 minutes", 3_720_000],
    ["try again in a while", undefined],
    ["do not retry", undefined],
  ])("a wish in its words: %s", async (message, ms) => {
    const step = { status: 429, body: said("rate_limit_exceeded", message) };

    expect((await failureOf(run(world, anInput({ wire, transcript: [scripted(step)] })))).retryAfterMs).toBe(ms);
  });

  test("a wish in the details of an error that is a list, and the header goes first", async () => {
    const details = [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "2s" }];
    const body = [{ error: { code: 429, message: "Resource exhausted", status: "RESOURCE_EXHAUSTED", details } }];
    const failed = async (headers: Record<string, string> = {}) =>
      await failureOf(run(world, anInput({ wire, transcript: [scripted({ status: 429, body, headers })] })));

    expect(await failed()).toMatchObject({ code: "RATE_LIMIT", retryAfterMs: 2_000 });
    expect((await failed()).message).toContain("Resource exhausted");
    expect((await failed({ "retry-after": "7" })).retryAfterMs).toBe(7_000);
  });

  test("a key in the provider's words is not passed on, and endless words are cut", async () => {
    const message = `bad key ${KEY}, Bearer abc.def, sk-proj-abcdefghijkl ${"x".repeat(5_000)}`;
    const transcript = [scripted({ status: 401, body: said("invalid_api_key", message) })];

    const error = await failureOf(run(world, anInput({ wire, transcript })));

    expect(error.message).toContain("bad key [key], Bearer [key], [key]");
    expect(error.message).not.toContain(KEY);
    expect(error.message.length).toBeLessThan(600);
  });
});

test("without a key a step says what to set, and the backend can be made all the same", async () => {
  const backend = createOpenAiBackend({ apiKey: undefined, baseUrl: world.model.url, defaultModel: "m" });

  const error = await failureOf(backend.step(anInput(), new Memory(), new AbortController().signal));

  expect(error).toMatchObject({ code: "AUTH_REQUIRED", retryable: false });
  expect(error.message).toContain("OPENAI_API_KEY");
});

test("the key is not passed on, whatever it looks like", async () => {
  const apiKey = "plain:secret:value";
  const backend = createOpenAiBackend({ apiKey, baseUrl: world.model.url, defaultModel: "m" });
  const transcript = [scripted({ status: 401, body: said("invalid_api_key", `no such key: ${apiKey}`) })];

  const error = await failureOf(backend.step(anInput({ transcript }), new Memory(), new AbortController().signal));

  expect(error.message).toContain("no such key: [key]");
});

test("a refused connection is retryable and names the address without user and password", async () => {
  const baseUrl = "http://user:password@127.0.0.1:1/v1";
  const backend = createOpenAiBackend({ apiKey: KEY, baseUrl, defaultModel: "m" });

  const error = await failureOf(backend.step(anInput(), new Memory(), new AbortController().signal));

  expect(error).toMatchObject({ code: "NETWORK", retryable: true });
  expect(error.message).toMatch(/127\.0\.0\.1:1 failed \(ECONNREFUSED\)/);
  expect(error.message).not.toContain("password");
});

test("a page instead of a stream, and a stream of garbage, are failures that a retry may cure", async () => {
  const replies = ["<html>welcome</html>", "data: {not json\n\n"];
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).end(replies.shift());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  const backend = createOpenAiBackend({ apiKey: KEY, baseUrl, defaultModel: "m" });
  try {
    const page = await failureOf(backend.step(anInput(), new Memory(), new AbortController().signal));
    const garbage = await failureOf(backend.step(anInput(), new Memory(), new AbortController().signal));

    expect(page).toMatchObject({ code: "NETWORK", retryable: true });
    expect(garbage).toMatchObject({ code: "PROVIDER_ERROR", retryable: true });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("a failing step, retried, answers as if nothing had been", async () => {
  const transcript = [scripted({ text: "at last", fails: { status: 500, times: 2 } })];

  const first = await failureOf(run(world, anInput({ transcript })));
  const second = await failureOf(run(world, anInput({ transcript })));
  const third = await run(world, anInput({ transcript }));

  expect([first.code, second.code]).toEqual(["PROVIDER_ERROR", "PROVIDER_ERROR"]);
  expect(third.blocks).toEqual([{ type: "text", text: "at last" }]);
});

test.each([
  ["a web page", 200, "<html>welcome</html>"],
  ["a server without such a list", 404, "{}"],
])("a base URL that leads to %s is told at validation, with the variable to look at", async (_, status, body) => {
  const server = createServer((_request, response) => {
    response.writeHead(status, { "content-type": status === 200 ? "text/html" : "application/json" }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/welcome`;
  try {
    const { valid, errors } = await createOpenAiBackend({ apiKey: KEY, baseUrl, defaultModel: "m" }).validate();

    expect([valid, errors[0]?.code]).toEqual([false, "PROVIDER_NOT_FOUND"]);
    expect(errors[0]?.message).toContain(`${baseUrl} there is no model provider`);
    expect(errors[0]?.message).toContain("OPENAI_BASE_URL");
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("the models of the provider are listed, and validation says in words what is missing", async () => {
  const noKey = createOpenAiBackend({ apiKey: "", baseUrl: world.model.url, defaultModel: "m" });
  const nowhere = createOpenAiBackend({ apiKey: KEY, baseUrl: "http://127.0.0.1:1/v1", defaultModel: "m" });

  expect(await world.backend.listModels()).toContainEqual({ id: "scripted-model" });
  expect(await world.backend.validate()).toEqual({ valid: true, errors: [] });
  expect(await noKey.validate()).toEqual({
    valid: false,
    errors: [{ code: "AUTH_REQUIRED", message: expect.stringContaining("OPENAI_API_KEY") }],
  });
  expect(await nowhere.validate()).toEqual({
    valid: false,
    errors: [{ code: "NETWORK", message: expect.stringContaining("ECONNREFUSED") }],
  });
});
