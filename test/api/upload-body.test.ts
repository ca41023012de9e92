/** A body that is streamed: bounded, and never the reason why a client does not hear the answer. */
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import express, { type Request, type Response } from "express";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { createProblemHandler } from "../../api/problem.ts";
import { takeBody } from "../../api/upload-body.ts";
import { StoreError } from "../../store/error.ts";
import { openTransit } from "../../store/transit.ts";
import { temporaryFolder } from "../store/store-builder.ts";

let server: Server | undefined;
afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve));
});

/** A server that takes bodies of at most 1,000 bytes. */
async function aServer(take: Parameters<typeof takeBody>[1]): Promise<number> {
  const app = express();
  app.put("/", async (request, response) => {
    response.json(await takeBody({ request, response, share: { bytesMax: 1_000, meter: undefined } }, take));
  });
  app.use(createProblemHandler(pino({ level: "silent" })));
  const listening = createServer(app);
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  return (listening.address() as AddressInfo).port;
}

async function put(port: number, bytes: number): Promise<{ status: number; body: unknown }> {
  const chunk = new Uint8Array(10_000);
  let left = bytes;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left <= 0) return controller.close();
      controller.enqueue(chunk.subarray(0, Math.min(left, chunk.length)));
      left -= chunk.length;
    },
  });
  const response = await fetch(`http://127.0.0.1:${port}/`, { method: "PUT", body, duplex: "half" });
  return { status: response.status, body: await response.json() };
}

test("of unknown length is taken up to the bound, and told when it is more", async () => {
  using folder = temporaryFolder();
  const transit = await openTransit(folder.path);
  const port = await aServer((body, bytesMax) => transit.put(body, { bytesMax }));

  expect(await put(port, 1_000)).toMatchObject({ status: 200, body: { bytes: 1_000 } });
  expect(await put(port, 0)).toMatchObject({ status: 200, body: { bytes: 0 } });
  expect(await put(port, 1_001)).toMatchObject({ status: 413, body: { code: "PAYLOAD_TOO_LARGE" } });
});

test("that nobody wants is dropped, and the client hears why", async () => {
  const port = await aServer(async () => {
    throw new StoreError("full", "the disk is full");
  });

  expect(await put(port, 3_000_000)).toMatchObject({ status: 507, body: { code: "INSUFFICIENT_STORAGE" } });
});

test("that nobody wants is read to its end before the answer, when the connection is closed with that", async () => {
  const refused = Promise.withResolvers<boolean>();
  const listening = createServer((given, answer) => {
    const [request, response] = [given, answer] as unknown as [Request, Response];
    request.get = () => undefined;
    takeBody({ request, response, share: { bytesMax: 1_000, meter: undefined } }, () =>
      Promise.reject(new Error("refused")),
    ).catch(() => {
      refused.resolve(given.complete);
      answer.end();
    });
  });
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));

  const { port } = listening.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1").resume();
  socket.on("error", () => undefined);
  socket.write("PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n");
  socket.write(Buffer.alloc(3_000_000));

  expect(await refused.promise).toBe(true);
  socket.destroy();
});

test("that breaks off ends its reader", async () => {
  let failure: unknown;
  const ended = Promise.withResolvers<void>();
  const port = await aServer(async (body) => {
    await body
      .toArray()
      .catch((error: unknown) => {
        failure = error;
      })
      .finally(ended.resolve);
  });
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write("PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf", () => socket.destroy());

  await ended.promise;
  expect(failure).toMatchObject({ message: "the body broke off" });
});
