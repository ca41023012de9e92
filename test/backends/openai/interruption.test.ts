/** Steps that are stopped, that fall silent, and the connections under them. */
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createOpenAiBackend } from "../../../backends/openai/backend.ts";
import { loadSdk } from "../../../backends/openai/sdk.ts";
import type { ScriptStep } from "../../support/model-endpoint.ts";
import { anInput, failureOf, KEY, Memory, run, scripted, startWorld, WIRES, type World } from "./step-builder.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const SILENCES: readonly [string, ScriptStep][] = [
  ["before the headers", { waitMs: 60_000, text: "late" }],
  ["in mid-stream", { text: "a beginning", stall: true }],
];

describe.each(WIRES)("over the %s wire", (wire) => {
  test.each(SILENCES)("a stop %s closes the connection at once", async (_, step) => {
    const stop = new AbortController();
    const sink = new Memory();
    const before = world.model.requests.length;
    const running = world.backend.step(anInput({ wire, transcript: [scripted(step)] }), sink, stop.signal);
    const failed = failureOf(running);
    await world.model.until(() => world.model.requests.length > before);
    if (step.stall === true) await expect.poll(() => sink.lines.length, { interval: 2 }).toBeGreaterThan(1);

    const stoppedAt = Date.now();
    stop.abort();
    const error = await failed;
    await world.model.until(() => world.model.requests.at(-1)?.closedEarlyAt !== undefined);

    expect(error).toMatchObject({ code: "ABORTED", retryable: false });
    expect((world.model.requests.at(-1)?.closedEarlyAt ?? 0) - stoppedAt).toBeLessThan(100);
  });

  test("a stop before the start sends nothing", async () => {
    const before = world.model.requests.length;

    const error = await failureOf(world.backend.step(anInput({ wire }), new Memory(), AbortSignal.abort()));

    expect(error.code).toBe("ABORTED");
    expect(world.model.requests.length).toBe(before);
  });

  test.each(SILENCES)("silence %s for the idle timeout is a timeout, and closes the connection", async (_, step) => {
    const limits = { modelIdleTimeoutMs: 120 };
    const startedAt = Date.now();

    const error = await failureOf(run(world, anInput({ wire, transcript: [scripted(step)], agent: { limits } })));
    await world.model.until(() => world.model.requests.at(-1)?.closedEarlyAt !== undefined);

    expect(error).toMatchObject({ code: "TIMEOUT", retryable: true });
    expect(error.message).toContain("120 ms");
    expect(Date.now() - startedAt).toBeLessThan(10_000);
  });

  test("a slow stream that never falls silent is no timeout", async () => {
    const transcript = [scripted({ text: "x".repeat(12 * 12), gapMs: 25 })];

    const output = await run(world, anInput({ wire, transcript, agent: { limits: { modelIdleTimeoutMs: 200 } } }));

    expect(output.blocks).toEqual([{ type: "text", text: "x".repeat(144) }]);
  });

  test("what streamed before a cut has been told, and the step fails", async () => {
    const sink = new Memory();

    const error = await failureOf(
      run(world, anInput({ wire, transcript: [scripted({ text: "half of it", cut: true })] }), sink),
    );

    expect(error.code).toBe("NETWORK");
    expect(sink.streamed(0)).toBe("half of it");
    expect(sink.lines.at(-1)).not.toBe("end 0");
  });

  test("twenty steps at once do not mix", async () => {
    const steps = Array.from({ length: 20 }, (_, i) => {
      const transcript = [scripted({ think: `t${i}`, text: `text ${i}`, tools: [{ name: `tool_${i}` }], gapMs: 1 })];
      return run(world, anInput({ wire, transcript }));
    });

    const outputs = await Promise.all(steps);

    for (const [i, { blocks }] of outputs.entries()) {
      expect(blocks.map((block) => (block.type === "tool_call" ? block.name : block.text))).toEqual([
        `t${i}`,
        `text ${i}`,
        `tool_${i}`,
      ]);
    }
  });
});

test("a kept connection that the server has closed is replaced without a failed step", async () => {
  const sockets = new Set<Socket>();
  let requests = 0;
  const server = createServer((request, response) => {
    request.resume();
    // The second request is answered by a reset: as if it had crossed the server's close on the wire.
    if (++requests === 2) request.socket.resetAndDestroy();
    else response.writeHead(401, { "content-type": "application/json" }).end("{}");
  });
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  const backend = createOpenAiBackend({ apiKey: KEY, baseUrl, defaultModel: "m" });
  const step = (): Promise<unknown> => backend.step(anInput(), new Memory(), new AbortController().signal);
  try {
    await failureOf(step());
    const error = await failureOf(step());

    expect(error.code).toBe("AUTH_INVALID");
    expect([requests, sockets.size]).toEqual([3, 2]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("the SDK leaves no listener on the process's signals", async () => {
  await loadSdk();

  for (const event of ["SIGTERM", "SIGINT", "unhandledRejection"] as const) {
    const sources = process.listeners(event as "SIGTERM").map((listener) => listener.toString());
    expect(sources.filter((source) => source.includes("hasOtherListeners"))).toEqual([]);
  }
});
