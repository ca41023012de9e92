/** What the sending of bytes leaves behind when nobody is there to take them. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import express from "express";
import { expect, test } from "vitest";
import { sendBlob } from "../../api/blob-reply.ts";

test("bytes that are opened for a reader who has left meanwhile are closed", async () => {
  const content = Readable.from(["bytes"]);
  const leaving = new AbortController();
  const { promise: sent, resolve } = Promise.withResolvers<void>();
  const app = express().get("/", (request, response) => {
    const open = async (): Promise<Readable> => {
      leaving.abort();
      await once(response, "close");
      return content;
    };
    const blob = { sha256: "0", bytes: 5, contentType: "text/plain", path: "f" };
    resolve(sendBlob(open, blob, { request, response, answers: { stream: () => undefined } }));
  });
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");

  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await expect(fetch(url, { signal: leaving.signal })).rejects.toThrow();
  await sent;

  expect(content.destroyed).toBe(true);
  server.close();
});
