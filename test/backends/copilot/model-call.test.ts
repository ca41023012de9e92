/** The one model call of a step: what the runtime is shown of it. */
import { expect, test } from "vitest";
import { ModelCall } from "../../../backends/copilot/model-call.ts";
import type { Send } from "../../../backends/openai/connection.ts";
import { anInput, failureOf, Memory } from "../openai/step-builder.ts";

const CONTEXT = { model: "m", origin: "https://provider.test", apiKey: "sk-secret" };
const REPLY = [
  { model: "m", choices: [{ index: 0, delta: { content: "hello" } }] },
  { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
]
  .map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`)
  .join("");

function callWith(send: Send): ModelCall {
  const authorize = (headers: Headers): void => headers.set("authorization", "Bearer sk-secret");
  return new ModelCall({ input: anInput(), sink: new Memory(), context: CONTEXT, send, isGithub: false, authorize });
}

function request(path = "chat/completions"): Request {
  const headers = { authorization: "Bearer none" };
  return new Request(`https://provider.test/v1/${path}`, { method: "POST", headers, body: '{"messages":[]}' });
}

test("the provider is sent the key, and the runtime gets the provider's bytes", async () => {
  const keys: (string | null)[] = [];
  const call = callWith(async (_url, init) => {
    keys.push(new Headers(init.headers).get("authorization"));
    return new Response(REPLY);
  });

  const response = await call.answer(request());

  expect(await response.text()).toBe(REPLY);
  expect((await call.reply).blocks).toEqual([{ type: "text", text: "hello" }]);
  expect(keys).toEqual(["Bearer sk-secret"]);
});

test("a runtime that asks a second time is refused, and the provider does not hear of it", async () => {
  let sent = 0;
  const call = callWith(async () => {
    sent++;
    return new Response(REPLY);
  });

  await (await call.answer(request())).text();
  const second = await call.answer(request());

  expect(second.status).toBe(400);
  expect(sent).toBe(1);
});

test("a runtime that asks after the stop is refused", async () => {
  const call = callWith(() => Promise.reject(new Error("it was sent")));
  call.stop(await failureOf(callFailure()));

  expect((await call.answer(request())).status).toBe(400);
  expect(await failureOf(call.reply)).toMatchObject({ code: "MODEL_OVERLOADED" });
});

test.each([429, 500, 503])("a status %i is shown to the runtime as one that is not worth a retry", async (status) => {
  const call = callWith(async () => new Response("busy", { status, headers: { "retry-after": "7" } }));

  const response = await call.answer(request());

  expect(response.status).toBe(400);
  expect(await response.text()).not.toContain("busy");
  expect(await failureOf(call.reply)).toMatchObject({ retryable: true, retryAfterMs: 7_000 });
});

test("a path that is no model call is refused, and does not count as the step's call", async () => {
  const call = callWith(async () => new Response(REPLY));

  expect((await call.answer(request("embeddings"))).status).toBe(400);
  expect((await call.answer(request())).status).toBe(200);
});

test("what the sink throws comes out as it is, and closes the stream", async () => {
  const own = new Error("the store is away");
  const sink = new (class extends Memory {
    override blockDelta(): void {
      throw own;
    }
  })();
  let signal: AbortSignal | null | undefined;
  const send: Send = async (_url, init) => {
    signal = init.signal;
    return new Response(REPLY);
  };
  const parts = { input: anInput(), sink, context: CONTEXT, send, isGithub: false, authorize: () => undefined };
  const call = new ModelCall(parts);

  await call.answer(request());

  await expect(call.reply).rejects.toBe(own);
  expect(signal?.aborted).toBe(true);
});

function callFailure(): Promise<unknown> {
  const call = callWith(async () => new Response("", { status: 503 }));
  return call.answer(request()).then(() => call.reply);
}
