/**
 * From where one may call: only local programs. A page in somebody's browser must not reach the API by a form, a script,
 * an image or a name that it lets resolve to the loopback, also where nobody is asked for the token.
 */
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { RequestHandler } from "express";
import { ProblemError } from "../contract/errors.ts";

const LOOPBACK_HOST = /^(localhost|([a-z0-9-]+\.)*localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i;
const REQUEST_ID = /^[\w.-]{1,64}$/;

/** Gives every answer an id and the headers that keep a browser from making more of it than it is. */
export function createRequestIds(): RequestHandler {
  return (request, response, next) => {
    const given = request.get("x-request-id");
    response.set({
      "X-Request-Id": given !== undefined && REQUEST_ID.test(given) ? given : `req_${randomUUID()}`,
      "X-Content-Type-Options": "nosniff",
      "Cross-Origin-Resource-Policy": "same-origin",
      "Cache-Control": "no-store",
    });
    next();
  };
}

/** Refuses requests by a foreign name for this server, and requests that a page of another origin makes. */
export function createRequestGuard(): RequestHandler {
  return (request, _response, next) => {
    checkCaller(request.headers);
    next();
  };
}

/** Throws FORBIDDEN. */
export function checkCaller(headers: IncomingHttpHeaders): void {
  const host = headers.host ?? "";
  if (!LOOPBACK_HOST.test(host)) {
    throw new ProblemError(
      "FORBIDDEN",
      `expected a Host such as localhost or 127.0.0.1; got ${JSON.stringify(host.slice(0, 100))}`,
    );
  }
  // An image or a link of another page brings no Origin; what its browser says of it cannot be changed by the page.
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") {
    throw new ProblemError(
      "FORBIDDEN",
      `pages of other sites may not call this API (Sec-Fetch-Site: ${JSON.stringify(String(site).slice(0, 50))}); ` +
        "use a program, or type the address",
    );
  }
  const origin = headers.origin;
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) {
    throw new ProblemError(
      "FORBIDDEN",
      `pages of ${JSON.stringify(origin.slice(0, 100))} may not call this API; use a program, or a page of its own`,
    );
  }
}
