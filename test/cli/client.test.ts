/** The client's requests: what the API refuses is one readable line, and what is sent again is the same thing. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { Client } from "../../cli/client.ts";
import { type FakeApi, startFakeApi } from "../support/fake-api.ts";

let api: FakeApi;
beforeEach(async () => {
  api = await startFakeApi();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const message = { content: "hello", id: "m1" };

test("a problem document becomes one line with its code, its detail and where it is wrong", async () => {
  api.problem("INVALID_INPUT", "the body is not valid", [
    { path: "/agent/tools/0", message: "unknown tool" },
    { path: "", message: "too much" },
  ]);

  await expect(client().postMessage("s", message)).rejects.toMatchObject({
    kind: "refused",
    message: "400 INVALID_INPUT: the body is not valid (/agent/tools/0: unknown tool; /: too much)",
  });
});

test("of a hundred errors five are shown, and the rest counted", async () => {
  const errors = Array.from({ length: 100 }, (_, i) => ({ path: `/${i}`, message: "wrong" }));
  api.problem("INVALID_INPUT", "no", errors);

  await expect(client().getSession("s")).rejects.toThrow(/\/4: wrong; and 95 more\)$/);
});

test("an error without a problem document says that this may be no Perdure", async () => {
  api.answers.push({ status: 502, text: "<html>Bad gateway</html>" });

  await expect(client().getSession("s")).rejects.toMatchObject({
    kind: "foreign",
    message: `${api.url} answered 502 without a problem document: is it a Perdure API?`,
  });
});

test.each(["<html>hello</html>", "{}", "null", '{"id":"s"}'])(
  "the answer %s is not taken for a session",
  async (text) => {
    api.answers.push({ status: 200, text });

    await expect(client().getSession("s")).rejects.toMatchObject({
      kind: "foreign",
      message: expect.stringContaining("does not understand"),
    });
  },
);

test("a message whose answer was lost is sent again under the same id", async () => {
  api.answers.push("reset");

  await expect(client().postMessage("s", message)).resolves.toMatchObject({ messageId: "m1" });
  expect(api.requests.map(({ body }) => body)).toEqual([message, message]);
});

test("an API that is back within a moment is waited for", async () => {
  await api.stop();
  const answer = client().getSession("s");
  await api.start();

  await expect(answer).resolves.toMatchObject({ id: "s" });
});

test("an API that is not there is unreachable, with words on how to start it", async () => {
  await api.stop();

  await expect(client().getSession("s")).rejects.toMatchObject({
    kind: "unreachable",
    message: expect.stringMatching(/no Perdure API answers at .*ECONNREFUSED.*npm start.*perdure dev.*--url/),
  });
  await api.start();
});

test("a refusal is not sent again, whatever it is", async () => {
  api.problem("QUEUE_FULL", "too many messages wait");

  await expect(client().postMessage("s", message)).rejects.toThrow("429 QUEUE_FULL: too many messages wait");
  expect(api.requests).toHaveLength(1);
});

test("a slash at the end of the address changes nothing", async () => {
  await new Client(`${api.url}/`).getSession("s");

  expect(api.requests[0]?.path).toBe("/v1/sessions/s");
});

function client(): Client {
  return new Client(api.url);
}
