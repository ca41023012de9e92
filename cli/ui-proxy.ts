/**
 * The way to Temporal's own UI, which answers whatever Host and Origin a request has, and can end and start workflows: only
 * the user's own browser comes through, at an address that he has typed, and no page of another site.
 */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream";
import { LIMITS } from "../contract/limits.ts";

export interface UiPlace {
  readonly host: string;
  readonly port: number;
}

export interface UiProxy {
  readonly url: string;
  close(): void;
}

const HOST = "127.0.0.1";
const NAMES: ReadonlySet<string> = new Set(["127.0.0.1", "localhost", "[::1]"]);
/** Of one connection; the other end has its own. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"],
  ...["te", "trailer", "transfer-encoding", "upgrade"],
]);
/** Temporal's page has scripts and styles of its own; what counts is that nobody frames it and takes a user's clicks. */
const NO_FRAMES = { "content-security-policy": "frame-ancestors 'none'", "x-frame-options": "DENY" } as const;

/** Listens. Rejects with Node's error when the port is taken. */
export async function startUiProxy(port: number, ui: () => UiPlace): Promise<UiProxy> {
  const server = createServer({ headersTimeout: LIMITS.uiTimeoutMs }, (incoming, response) => {
    const fault = faultOf(incoming, portOf(server));
    if (fault === undefined) forward(incoming, response, ui());
    else response.writeHead(403, { "content-type": "text/plain" }).end(`${fault}\n`);
  });
  server.maxConnections = LIMITS.uiConnectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, HOST, resolve);
  });
  return {
    url: `http://${HOST}:${portOf(server)}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Why a request is none of the user's own, in words. */
function faultOf({ headers }: IncomingMessage, port: number): string | undefined {
  const host = (headers.host ?? "").toLowerCase();
  const name = host.replace(/:\d+$/, "");
  if (!NAMES.has(name) || host !== `${name}:${port}`) return `expected the Host ${HOST}:${port}`;
  if (headers.origin !== undefined && headers.origin.toLowerCase() !== `http://${host}`) {
    return "pages of other sites may not use Temporal's UI";
  }
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") {
    return "pages of other sites may not use Temporal's UI; type its address";
  }
  return undefined;
}

function forward(incoming: IncomingMessage, response: ServerResponse, { host, port }: UiPlace): void {
  const headers = { ...endToEnd(incoming.headers), host: `${host}:${port}` };
  const asked = request({ host, port, method: incoming.method, path: incoming.url, headers, agent: false });
  asked.setTimeout(LIMITS.uiTimeoutMs, () => asked.destroy(new Error("the UI does not answer")));
  asked.once("response", (answer) => {
    response.writeHead(answer.statusCode ?? 502, { ...endToEnd(answer.headers), ...NO_FRAMES });
    pipeline(answer, response, () => undefined);
  });
  asked.once("error", () => {
    if (response.headersSent) response.destroy();
    else response.writeHead(502, { "content-type": "text/plain" }).end("Temporal's UI does not answer; try again\n");
  });
  response.once("close", () => asked.destroy());
  pipeline(incoming, asked, () => undefined);
}

/** Without what belongs to a connection, and without an Origin, which was looked at here and is another one there. */
function endToEnd(headers: IncomingMessage["headers"]): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).filter(
      (header): header is [string, string | string[]] =>
        header[1] !== undefined && !HOP_BY_HOP.has(header[0]) && !["origin", "referer"].includes(header[0]),
    ),
  );
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
