/**
 * HTTP for one request with a large body in pieces and a streamed answer, shaped as `fetch` gives it.
 *
 * The global `fetch` needs 4 ms more for a body of a megabyte, and breaks off a model that thinks in silence for 300 s.
 * This follows no redirect. It asks for nothing packed, and unpacks what comes so all the same.
 */
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { pipeline, type Readable } from "node:stream";
import { constants, createBrotliDecompress, createUnzip } from "node:zlib";

export type Send = (url: URL, init: RequestInit, body: readonly Uint8Array[]) => Promise<Response>;

/** Makes a sender with connections of its own, which stay open between requests. */
export function createSend(): Send {
  const http = new HttpAgent({ keepAlive: true });
  const https = new HttpsAgent({ keepAlive: true });
  const open = (url: URL, init: RequestInit, length: number): ClientRequest => {
    const headers = Object.fromEntries(new Headers(init.headers));
    if (length > 0) headers["content-length"] = String(length);
    const options = { method: init.method ?? "GET", headers, ...(init.signal ? { signal: init.signal } : {}) };
    return url.protocol === "https:"
      ? httpsRequest(url, { ...options, agent: https })
      : httpRequest(url, { ...options, agent: http });
  };
  return async (url, init, body) => {
    const length = body.reduce((sum, piece) => sum + piece.length, 0);
    const first = await exchange(open(url, init, length), body);
    if (first instanceof Error) {
      // The server had closed the kept connection; the request did not reach it. Once, a new one is tried.
      const second = await exchange(open(url, init, length), body);
      if (second instanceof Error) throw second;
      return asResponse(second);
    }
    return asResponse(first);
  };
}

/** The answer, or the error of a kept connection that turned out to be closed. */
function exchange(request: ClientRequest, body: readonly Uint8Array[]): Promise<IncomingMessage | Error> {
  return new Promise((resolve, reject) => {
    request.once("response", resolve);
    // Also after the response: then the answer's own stream has failed too, and nobody waits here any more.
    request.on("error", (error: NodeJS.ErrnoException) => {
      if (request.reusedSocket && error.code === "ECONNRESET") resolve(error);
      else reject(error);
    });
    request.cork();
    for (const piece of body) request.write(piece);
    request.end();
  });
}

function asResponse(message: IncomingMessage): Response {
  const status = message.statusCode ?? 502;
  const headers = new Headers();
  for (const [name, value] of Object.entries(message.headers)) {
    for (const one of Array.isArray(value) ? value : [value ?? ""]) headers.append(name, one);
  }
  const hasBody = status !== 204 && status !== 205 && status !== 304;
  const body = hasBody ? unpacked(message, headers) : undefined;
  return new Response(body === undefined ? null : bytesOf(body), { status, headers });
}

/** Some gateways pack each answer, whatever was asked for. Each piece is given on as soon as it can be read. */
function unpacked(message: IncomingMessage, headers: Headers): Readable {
  const encoding = headers.get("content-encoding")?.trim().toLowerCase() ?? "";
  const isBrotli = encoding === "br";
  if (!isBrotli && !/^(x-)?gzip$|^deflate$/.test(encoding)) return message;
  for (const name of ["content-encoding", "content-length"]) headers.delete(name);
  const unzip = isBrotli
    ? createBrotliDecompress({ flush: constants.BROTLI_OPERATION_FLUSH })
    : createUnzip({ flush: constants.Z_SYNC_FLUSH });
  return pipeline(message, unzip, () => undefined); // Whoever reads it is told of its end.
}

/** Reads on demand, so that a slow reader slows the provider and not our memory. */
function bytesOf(message: Readable): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        message.on("data", (chunk: Buffer) => {
          controller.enqueue(chunk);
          if ((controller.desiredSize ?? 0) <= 0) message.pause();
        });
        message.once("end", () => controller.close());
        message.on("error", (error) => controller.error(error));
        message.pause();
      },
      pull() {
        message.resume();
      },
      cancel() {
        message.destroy();
      },
    },
    { highWaterMark: 16 },
  );
}
