/** A provider's answer that is packed, sent elsewhere, endless, or no stream of events at all. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { StepOutput } from "../../../backends/backend.ts";
import { createOpenAiBackend } from "../../../backends/openai/backend.ts";
import { LIMITS } from "../../../contract/limits.ts";
import { anInput, failureOf, KEY, Memory, WIRES } from "./step-builder.ts";

const HELLO = [
  { model: "m", choices: [{ index: 0, delta: { content: "hello" } }] },
  { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
]
  .map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`)
  .join("");

/** One step of a provider that answers so. */
async function step(
  answer: RequestListener,
  wire: (typeof WIRES)[number] = "chat_completions",
  modelIdleTimeoutMs = 30_000,
): Promise<StepOutput> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
    const backend = createOpenAiBackend({ apiKey: KEY, baseUrl, defaultModel: "m" });
    const agent = { limits: { modelIdleTimeoutMs } };
    return await backend.step(anInput({ wire, agent }), new Memory(), new AbortController().signal);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test.each([
  ["gzip", gzipSync],
  ["deflate", deflateSync],
  ["br", brotliCompressSync],
])("a stream that is packed with %s is read", async (encoding, pack) => {
  const { blocks } = await step((_, response) => {
    response.writeHead(200, { "content-encoding": encoding });
    response.end(pack(Buffer.from(HELLO)));
  });

  expect(blocks).toEqual([{ type: "text", text: "hello" }]);
});

describe.each(WIRES)("over the %s wire", (wire) => {
  test("a document with an error in it is that error, without the key", async () => {
    const error = { code: "insufficient_quota", message: `nothing is left for ${KEY}` };
    const failure = await failureOf(step((_, response) => response.end(JSON.stringify({ error })), wire));

    expect(failure).toMatchObject({ code: "RATE_LIMIT", retryable: false });
    expect(failure.message).toContain("nothing is left for [key]");
  });

  test.each([
    ["a document of another kind", '{"object":"list"}', "INVALID_RESPONSE", "a document"],
    ["a web page", "<!doctype html><title>Log in</title>", "NETWORK", "a web page"],
  ])("%s is said to be one", async (_, body, code, words) => {
    const failure = await failureOf(step((_request, response) => response.end(body), wire));

    expect(failure.code).toBe(code);
    expect(failure.message).toContain(words);
  });

  test("nothing at all is said to be so", async () => {
    const failure = await failureOf(step((_, response) => response.writeHead(204).end(), wire));

    expect(failure).toMatchObject({ code: "PROVIDER_ERROR", retryable: true });
    expect(failure.message).toContain("without a body (204)");
  });

  test("a redirect is not followed, and said where it leads", async () => {
    const location = "https://login.example/path?of=it";
    const failure = await failureOf(step((_, response) => response.writeHead(307, { location }).end(), wire));

    expect(failure).toMatchObject({ code: "PROVIDER_NOT_FOUND", retryable: false });
    expect(failure.message).toMatch(/to https:\/\/login\.example, which is not followed.*\(307\)$/);
  });

  test("an event without an end is stopped, and an error without an end is read as far as it is shown", async () => {
    const endless =
      (status: number): RequestListener =>
      (_, response) => {
        response.writeHead(status);
        const more = (): void => {
          while (!response.destroyed && response.write("data: ".padEnd(1 << 20, "z")));
        };
        response.on("drain", more);
        more();
      };

    const stream = await failureOf(step(endless(200), wire));
    const error = await failureOf(step(endless(500), wire));

    expect(stream).toMatchObject({ code: "INVALID_RESPONSE", retryable: false });
    expect(stream.message).toContain("without the end of an event");
    expect(error.code).toBe("PROVIDER_ERROR");
    expect(error.message.length).toBeLessThan(LIMITS.providerWordsMax * 2);
  });
});

/** Says these one after another, and then hello. */
const beats =
  (piece: string, [begin, end]: readonly [string, string] = ["", ""]): RequestListener =>
  (_, response) => {
    response.write(`: a beginning\n\n${begin}`);
    let count = 0;
    const beat = setInterval(() => {
      response.write(piece);
      if (++count < 8) return;
      clearInterval(beat);
      response.end(`${end}${HELLO}`);
    }, 150);
  };

test("comments of a gateway are no life of the model behind it", async () => {
  await expect(step(beats(": still at it\n\n"), "chat_completions", 1_000)).rejects.toMatchObject({ code: "TIMEOUT" });
});

test.each([
  ["pings of the provider", beats("data: {}\n\n")],
  ["an event that comes in pieces", beats("long ", ['data: {"x": "', '"}\n\n'])],
])("a model that thinks for long is waited for: %s", async (_, answer) => {
  expect((await step(answer, "chat_completions", 1_000)).blocks).toEqual([{ type: "text", text: "hello" }]);
});
