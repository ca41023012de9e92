/** A request's body as a stream of at most so many bytes. */
import type { Request, Response } from "express";
import { ProblemError } from "../contract/errors.ts";
import { TooLongError } from "../store/transit.ts";
import { invalidField } from "./input.ts";

/**
 * Hands the body to `take`, which reads it as it comes. Throws PAYLOAD_TOO_LARGE, at once when the length is told ahead, and
 * INVALID_INPUT for a body that is compressed or breaks off. The connection ends with a refusal: nobody reads the rest.
 */
export async function takeBody<T>(
  { request, response }: { readonly request: Request; readonly response: Response },
  bytesMax: number,
  take: (body: Request, bytesMax: number) => Promise<T>,
): Promise<T> {
  try {
    const encoding = request.get("content-encoding") ?? "identity";
    if (encoding !== "identity") {
      throw invalidField("/headers/content-encoding", "expected the bytes as they are, without an encoding");
    }
    if (Number(request.get("content-length") ?? 0) > bytesMax) throw tooLarge(bytesMax);
    return await take(request, bytesMax);
  } catch (error) {
    if (!response.headersSent && !request.readableEnded) response.set("Connection", "close");
    if (error instanceof TooLongError) throw tooLarge(bytesMax);
    if (request.destroyed && !request.complete) {
      throw new ProblemError("INVALID_INPUT", "the body broke off before its end; nothing was written", {
        cause: error,
      });
    }
    throw error;
  }
}

function tooLarge(bytesMax: number): ProblemError {
  return new ProblemError("PAYLOAD_TOO_LARGE", `expected a body of at most ${bytesMax} bytes; this one is larger`);
}
