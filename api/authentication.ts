/** Who may call: whoever sends the token of the state folder. Compared in constant time, and never repeated or logged. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Request, RequestHandler } from "express";
import { ProblemError } from "../contract/errors.ts";
import type { Operation } from "./operation.ts";

/** The API's token, and where a caller finds it; undefined: nobody is asked. */
export interface ApiToken {
  readonly value: string;
  /** The file, as a person can open it. */
  readonly place: string;
}

interface Access {
  /** The parameter `token` counts, too: of streams and sockets, whose callers in a browser can send no header. */
  readonly inQuery: boolean;
  readonly given: string | undefined;
}

const BEARER = /^bearer +(\S+) *$/i;
const PARAMETER = "token";
const STREAMS = { events: /^\/v1\/sessions\/[^/]+\/events$/, progress: /^\/v1\/sessions\/[^/]+\/progress$/ } as const;

export class Authentication {
  readonly #token: ApiToken | undefined;
  readonly #digest: Buffer | undefined;

  constructor(token: ApiToken | undefined) {
    this.#token = token;
    this.#digest = token && digest(token.value);
  }

  /** Middleware for everything but the operations that say that they are public. Takes a token out of the URL once it is read. */
  handler(operations: readonly Operation[]): RequestHandler {
    const isPublic = new Set(operations.filter((operation) => operation.isPublic).map(({ path }) => path));
    return (request, _response, next) => {
      const inQuery = isStream(request);
      const given = inQuery ? takeFromUrl(request) : undefined;
      if (!isPublic.has(request.path)) this.#check(request, { given, inQuery });
      next();
    };
  }

  /** For a request that no middleware sees, of a kind that may carry the token in its URL. Throws UNAUTHORIZED. */
  checkSocket(request: IncomingMessage): void {
    this.#check(request, { given: takeFromUrl(request), inQuery: true });
  }

  #check(request: IncomingMessage, { given, inQuery }: Access): void {
    if (this.#token === undefined) return;
    const header = request.headers.authorization;
    const sent = header === undefined ? given : BEARER.exec(header)?.[1];
    if (sent !== undefined && this.#isRight(sent)) return;
    const way = `"Authorization: Bearer <token>"${inQuery ? ", or ?token=<token>" : ""}`;
    const came = header === undefined && given === undefined ? "none came" : "what came is not the token";
    throw new ProblemError(
      "UNAUTHORIZED",
      `expected ${way}; ${came}. The token is in the file ${this.#token.place} of the API's host`,
    );
  }

  #isRight(sent: string): boolean {
    return this.#digest !== undefined && timingSafeEqual(digest(sent), this.#digest);
  }
}

/** Whether a stream is asked for, as the routes of streams will see it. */
function isStream({ method, path, headers, query }: Request): boolean {
  if (method !== "GET") return false;
  if (STREAMS.progress.test(path)) return true;
  const isWanted = query["stream"] === "1" || (headers.accept ?? "").includes("text/event-stream");
  return isWanted && STREAMS.events.test(path);
}

/** Of equal length whatever was sent, as a comparison in constant time wants it. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** The token of a URL, which does not hold it any more then: nobody who shows or logs the URL shows the token. */
function takeFromUrl(request: IncomingMessage): string | undefined {
  const [path = "/", ...rest] = (request.url ?? "/").split("?");
  const query = rest.join("?");
  if (!query.includes(PARAMETER)) return undefined;
  const parameters = new URLSearchParams(query);
  const [given] = parameters.getAll(PARAMETER);
  if (given === undefined) return undefined;
  parameters.delete(PARAMETER);
  const left = parameters.toString();
  request.url = left === "" ? path : `${path}?${left}`;
  return given;
}
