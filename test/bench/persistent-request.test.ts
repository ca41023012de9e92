/** What a client of chaos takes for an answer, and what it tries again. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { AnswerError, askPersistently, HangError, jsonOf } from "../../bench/chaos/persistent-request.ts";

type Reaction = (response: ServerResponse) => void;

const reset: Reaction = (response) => response.destroy();
const busy: Reaction = (response) => response.writeHead(503).end("not now");
const cutShort: Reaction = (response) => {
  response.writeHead(200, { "content-length": "100" }).write("half of", () => response.destroy());
};
const well: Reaction = (response) => response.writeHead(200).end('{"is":"well"}');

/** A server that reacts so to one request after another, and as to the last of them ever after. */
async function startServer(...reactions: readonly [Reaction, ...Reaction[]]) {
  let requests = 0;
  const server = createServer((_request, response) => {
    const reaction = reactions[Math.min(requests++, reactions.length - 1)] ?? reactions[0];
    reaction(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/thing`;
  return {
    ask: (patienceMs: number, accepts: readonly number[] = []) => {
      const until = Date.now() + patienceMs;
      return askPersistently({ method: "GET", url, accepts }, { at: () => until });
    },
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

test("a connection that breaks, a server that is busy and an answer that is cut short are tried again", async () => {
  await using server = await startServer(reset, busy, cutShort, well);

  const answer = await server.ask(10_000);

  expect(jsonOf(answer)).toEqual({ is: "well" });
  expect(answer?.failures).toBe(3);
});

test("an answer that must not be is not tried again", async () => {
  await using server = await startServer((response) => response.writeHead(500).end("a bug"), well);

  await expect(server.ask(10_000)).rejects.toThrow(new AnswerError("GET /v1/thing answered 500: a bug"));
});

test("a refusal that is waited for is an answer", async () => {
  await using server = await startServer((response) => response.writeHead(409).end());

  expect((await server.ask(10_000, [409]))?.status).toBe(409);
});

test("nothing but failures is a hang, which tells the last of them", async () => {
  await using server = await startServer(busy);

  await expect(server.ask(150)).rejects.toThrow(HangError);
  await expect(server.ask(150)).rejects.toThrow("its last answer: 503: not now");
});
