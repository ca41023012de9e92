/** The one writer of error answers: whatever was thrown becomes an RFC 9457 problem document. Unknown errors say nothing of themselves. */
import type { ErrorRequestHandler, Request, Response } from "express";
import type { Logger } from "pino";
import { PROBLEMS, type Problem, type ProblemCode, ProblemError } from "../contract/errors.ts";
import { StoreError } from "../store/error.ts";
import { SessionsError } from "./sessions.ts";

export const PROBLEM_TYPE = "application/problem+json";
/** What a 401 says it wants. */
export const CHALLENGE = 'Bearer realm="perdure"';

/** The document of a problem. */
export function toProblem(error: ProblemError): Problem {
  const { status, title, retryable } = PROBLEMS[error.code];
  return {
    type: problemType(error.code),
    title,
    status,
    detail: error.message,
    code: error.code,
    retryable,
    ...(error.errors && { errors: error.errors.map((fault) => ({ ...fault })) }),
    ...(error.first !== undefined && { first: error.first }),
  };
}

/** Where a kind of problem is described. */
export function problemType(code: ProblemCode): string {
  return `/docs#${code}`;
}

/** Express's last middleware. */
export function createProblemHandler(logger: Logger): ErrorRequestHandler {
  return (thrown: unknown, request: Request, response: Response, _next) => {
    const problem = toProblem(toProblemError(thrown));
    // A server that a caller has named and that failed is his matter, and he is told.
    if (problem.status >= 500 && problem.code !== "DOWNLOAD_FAILED") {
      const place = { requestId: response.get("x-request-id"), method: request.method, path: request.path };
      logger.error({ ...place, err: thrown }, "a request failed");
    }
    // A stream that has begun cannot turn into an error: its client sees it end, and comes back.
    if (response.headersSent) {
      response.destroy();
      return;
    }
    for (const name of ["content-disposition", "content-length", "etag", "last-modified", "accept-ranges"]) {
      response.removeHeader(name);
    }
    if (problem.status === 401) response.set("www-authenticate", CHALLENGE);
    if (problem.retryable && problem.status === 503) response.set("retry-after", "1");
    response.status(problem.status).set("cache-control", "no-store").type(PROBLEM_TYPE).send(JSON.stringify(problem));
  };
}

export function toProblemError(thrown: unknown): ProblemError {
  if (thrown instanceof ProblemError) return thrown;
  if (thrown instanceof StoreError) {
    return new ProblemError("STORAGE_ERROR", `${thrown.message}; try again`, { cause: thrown });
  }
  if (thrown instanceof SessionsError) return fromSessions(thrown);
  return fromExpress(thrown) ?? new ProblemError("INTERNAL", "internal error", { cause: thrown });
}

function fromSessions(error: SessionsError): ProblemError {
  const cause = { cause: error };
  switch (error.kind) {
    case "unreachable":
      return new ProblemError("UNAVAILABLE", `${error.message}; try again`, cause);
    case "unanswered":
      return new ProblemError("UNAVAILABLE", `Temporal is there, but ${error.message}; is a worker running?`, cause);
    case "missing":
      return new ProblemError("SESSION_CLOSED", `${error.message}; make a new session`, cause);
    case "refused":
      return new ProblemError("SESSION_CLOSED", error.message, cause);
    case "failed":
    case "foreign":
      return new ProblemError("INTERNAL", "internal error", cause);
  }
}

/** What Express, its router and its body parser throw: errors with a status and a type. */
function fromExpress(thrown: unknown): ProblemError | undefined {
  if (!(thrown instanceof Error) || !("status" in thrown) || typeof thrown.status !== "number") return undefined;
  const type = "type" in thrown ? String(thrown.type) : "";
  const cause = { cause: thrown };
  if (thrown.status === 413) {
    const limit = "limit" in thrown ? ` of at most ${String(thrown.limit)} bytes` : "";
    return new ProblemError("PAYLOAD_TOO_LARGE", `expected a body${limit}; this one is larger`, cause);
  }
  if (thrown.status === 415) {
    return new ProblemError("UNSUPPORTED_MEDIA_TYPE", `expected JSON in UTF-8: ${thrown.message}`, cause);
  }
  if (type === "entity.parse.failed") {
    return new ProblemError("INVALID_INPUT", `expected JSON; the body cannot be parsed: ${thrown.message}`, {
      ...cause,
      errors: [{ path: "", message: thrown.message }],
    });
  }
  if (thrown.status >= 400 && thrown.status < 500) return unreadable(thrown);
  return undefined;
}

/** The router cannot decode a part of the path, or the parser cannot get the body as it was announced: its encoding, its length. */
function unreadable(thrown: Error): ProblemError {
  const { message } = thrown;
  const [path, words] = thrown instanceof URIError ? ["/path", message] : ["", `the body cannot be read: ${message}`];
  return new ProblemError("INVALID_INPUT", words, { cause: thrown, errors: [{ path, message: words }] });
}
