/** Bytes of the store as an answer: whole or a range of them, never as something that a browser would run. */
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Request, Response } from "express";
import { ProblemError } from "../contract/errors.ts";
import type { AnswerBudget } from "./answer-budget.ts";

export interface SentBlob {
  readonly sha256: string;
  readonly bytes: number;
  readonly contentType: string;
  /** Its path; its last part is the name under which a browser would save it. */
  readonly path: string;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** Where the bytes are read from. */
export type OpenBytes = (range: Range | undefined) => Promise<Readable>;

export interface BlobReader {
  readonly request: Request;
  readonly response: Response;
  readonly answers: Pick<AnswerBudget, "stream">;
}

/** Answers with the bytes: 200, 206 for a range, 304 when the client has them. Throws RANGE_NOT_SATISFIABLE and OVERLOADED. */
export async function sendBlob(open: OpenBytes, blob: SentBlob, to: BlobReader): Promise<void> {
  const { request, response, answers } = to;
  const etag = `"${blob.sha256}"`;
  response.attachment(path.posix.basename(blob.path));
  response.setHeader("Content-Type", blob.contentType); // Not set(), which would add a charset.
  response.set({
    ETag: etag,
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-cache",
    // Were it opened in a browser after all, it could run nothing and ask for nothing.
    "Content-Security-Policy": "sandbox; default-src 'none'",
  });
  if (hasCurrent(request, etag)) {
    response.status(304).end();
    return;
  }
  const range = wantedRange(request, response, { bytes: blob.bytes, etag });
  if (range) response.status(206).set("Content-Range", `bytes ${range.start}-${range.end}/${blob.bytes}`);
  response.set("Content-Length", String(range ? range.end - range.start + 1 : blob.bytes));
  if (request.method === "HEAD" || blob.bytes === 0) {
    response.end();
    return;
  }
  answers.stream(request, response);
  const content = await open(range);
  try {
    await pipeline(content, response);
  } catch (error) {
    // A reader that leaves early is no fault of ours, nor of the store.
    if (!response.destroyed) throw error;
  } finally {
    content.destroy(); // A response that was gone before has not taken it.
  }
}

function hasCurrent(request: Request, etag: string): boolean {
  const tags = request.get("if-none-match");
  if (tags === undefined) return false;
  return tags.split(",").some((tag) => tag.trim() === "*" || tag.trim().replace(/^W\//, "") === etag);
}

/** The one range that is asked for. Several, or one in another unit, are answered with the whole, as RFC 9110 allows. */
function wantedRange(request: Request, response: Response, of: { bytes: number; etag: string }): Range | undefined {
  const header = request.get("range");
  const condition = request.get("if-range");
  if (header === undefined || (condition !== undefined && condition !== of.etag)) return undefined;
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/i.exec(header.replaceAll(/\s/g, "")) ?? [];
  if (first === "" && last === "") return undefined;
  const start = first === "" ? Math.max(0, of.bytes - Number(last)) : Number(first);
  const end = first === "" || last === "" ? of.bytes - 1 : Math.min(Number(last), of.bytes - 1);
  if (first !== "" && last !== "" && Number(last) < Number(first)) return undefined; // Not a range at all.
  if (start > end) {
    response.set("Content-Range", `bytes */${of.bytes}`);
    throw new ProblemError("RANGE_NOT_SATISFIABLE", `expected a range within ${of.bytes} bytes; got ${header}`);
  }
  return { start, end };
}
