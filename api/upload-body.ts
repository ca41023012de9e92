/** A request's body as a stream of at most so many bytes. */
import { PassThrough, type Readable } from "node:stream";
import { finished } from "node:stream/promises";
import type { Request, Response } from "express";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { StoreError } from "../store/error.ts";
import { TooLongError } from "../store/transit.ts";
import type { DiskShare } from "./body-budget.ts";
import { EDGE_BOUNDS } from "./edge-bounds.ts";
import { invalidField } from "./input.ts";
import { type Pace, watchPace } from "./pace.ts";

export interface Upload {
  readonly request: Request;
  readonly response: Response;
  readonly share: Pick<DiskShare, "bytesMax" | "meter">;
  /** One that comes more slowly is ended. */
  readonly pace?: Pace;
}

/**
 * Hands the body to `take`, which reads it as it comes. Throws PAYLOAD_TOO_LARGE, at once when the length is told ahead,
 * REQUEST_TIMEOUT for one that hardly comes, and INVALID_INPUT for a body that is compressed or breaks off. What `take` leaves
 * of it is read and dropped, so that the client comes to the answer; of one that is too large the connection ends with it.
 */
export async function takeBody<T>(upload: Upload, take: (body: Readable, bytesMax: number) => Promise<T>): Promise<T> {
  const { request, response, share, pace = EDGE_BOUNDS } = upload;
  const { bytesMax } = share;
  refuseEncoded(request);
  if (Number(request.get("content-length") ?? 0) > bytesMax) throw tooLarge(response, bytesMax);
  const body = apart(request, share.meter);
  let came = 0;
  request.on("data", (chunk: Uint8Array) => {
    came += chunk.length;
  });
  const unpaced = watchPace(
    () => (request.complete ? Number.POSITIVE_INFINITY : came),
    pace,
    () => {
      if (!request.complete) body.destroy(tooSlow(response, pace));
    },
  );
  try {
    return await take(body, bytesMax);
  } catch (error) {
    if (error instanceof TooLongError) throw tooLarge(response, bytesMax);
    if (error instanceof StoreError && error.kind === "full") {
      throw new ProblemError("INSUFFICIENT_STORAGE", `${error.message}; nothing was written`, { cause: error });
    }
    if (error instanceof ProblemError || request.complete || !request.destroyed) throw error;
    throw new ProblemError("INVALID_INPUT", "the body broke off before its end; nothing was written", { cause: error });
  } finally {
    unpaced();
    request.unpipe();
    body.destroy();
    request.resume();
    await restRead(request, response);
  }
}

function refuseEncoded(request: Request): void {
  const encoding = request.get("content-encoding") ?? "identity";
  if (encoding.toLowerCase() !== "identity") {
    throw invalidField("/headers/content-encoding", "expected the bytes as they are, without an encoding");
  }
  const transfer = request.get("transfer-encoding") ?? "chunked";
  if (transfer.toLowerCase() !== "chunked") {
    throw invalidField("/headers/transfer-encoding", "expected chunked, or a Content-Length");
  }
}

/** A client that wants the connection closed with the answer loses the answer when it is closed while he still sends. */
async function restRead(request: Request, response: Response): Promise<void> {
  if (response.shouldKeepAlive || response.hasHeader("connection") || request.complete || request.destroyed) return;
  await finished(request, { signal: AbortSignal.timeout(LIMITS.drainMs) }).catch(() => undefined);
}

/** Whoever fails to read the body must not end the connection with it: the answer goes the same way. */
function apart(request: Request, meter: DiskShare["meter"]): Readable {
  const body = meter ?? new PassThrough();
  body.on("error", () => undefined); // Whoever reads it hears of it.
  request.once("close", () => {
    if (!request.complete) body.destroy(new Error("the body broke off"));
  });
  return request.pipe(body);
}

/** The rest of it is not waited for. */
function tooSlow(response: Response, { slowBytes, slowMs }: Pace): ProblemError {
  if (!response.headersSent) response.set("Connection", "close");
  const words = `expected at least ${slowBytes} bytes of the body in ${slowMs / 1_000} s; nothing was written`;
  return new ProblemError("REQUEST_TIMEOUT", words);
}

function tooLarge(response: Response, bytesMax: number): ProblemError {
  if (!response.headersSent) response.set("Connection", "close");
  return new ProblemError("PAYLOAD_TOO_LARGE", `expected a body of at most ${bytesMax} bytes; this one is larger`);
}
