/**
 * The proxy of one sandbox: HTTP CONNECT, and plain HTTP in absolute form. Whoever speaks to it may be hostile, so all is
 * bounded, and nothing is passed on before its destination was decided.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { LIMITS } from "../../contract/limits.ts";
import { chooseDestination, connectTo, type DestinationDeps } from "./destination.ts";
import { forwardRequest, splitAuthority } from "./forward.ts";
import { passOn } from "./passing.ts";
import { type Refusal, rawRefusal, tooMany } from "./refusal.ts";

export interface ProxyBounds {
  readonly connectionsMax: number;
  readonly headMs: number;
  readonly connectMs: number;
  readonly idleMs: number;
}

export interface ProxyDeps extends DestinationDeps {
  readonly bounds?: Partial<ProxyBounds>;
}

/** What the handlers of one proxy share. */
export interface Gate {
  readonly deps: DestinationDeps;
  readonly bounds: ProxyBounds;
  /** Sockets to the outside, counted from before they are opened. */
  open: number;
}

const BOUNDS: ProxyBounds = {
  connectionsMax: LIMITS.egressConnectionsMax,
  headMs: LIMITS.egressHeadMs,
  connectMs: LIMITS.egressConnectMs,
  idleMs: LIMITS.egressIdleMs,
};

/** A server that is not yet listening. */
export function createProxy({ bounds: given, ...deps }: ProxyDeps): Server {
  const bounds = { ...BOUNDS, ...given };
  const gate: Gate = { deps, bounds, open: 0 };
  const server = createServer({
    maxHeaderSize: LIMITS.egressHeaderBytesMax,
    headersTimeout: bounds.headMs,
    // An upload may take its time; what stands still is ended by the socket's own timeout.
    requestTimeout: 0,
    connectionsCheckingInterval: Math.min(1_000, bounds.headMs),
    insecureHTTPParser: false,
  });
  server.maxConnections = bounds.connectionsMax;
  server.setTimeout(bounds.idleMs);
  // Each of the requests that are under way on a connection listens for its end.
  server.on("connection", (client) => client.setMaxListeners(bounds.connectionsMax + 20));
  server.on("request", (request, response) => void forwardRequest(gate, request, response));
  server.on("connect", (request, client, head) => void tunnel(gate, request, { client, head }));
  server.on("clientError", (error: NodeJS.ErrnoException, client) => {
    if (error.code === "ECONNRESET" || !client.writable) client.destroy();
    else endWith(client, clientFault(error.code));
  });
  return server;
}

function clientFault(code: string | undefined): Refusal {
  if (code === "HPE_HEADER_OVERFLOW") return { status: 431, reason: "the request's head is too large" };
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return { status: 408, reason: "the request's head did not come in time" };
  return { status: 400, reason: "this is a proxy for HTTP, and that was no HTTP request" };
}

/** Not half open: a client that does not end its own half must not keep its place. */
function endWith(client: Duplex, refusal: Refusal): void {
  client.end(rawRefusal(refusal), () => client.destroy());
}

interface Wanting {
  readonly client: Duplex;
  /** What came right after the request. */
  readonly head: Buffer;
}

async function tunnel(gate: Gate, request: IncomingMessage, { client, head }: Wanting): Promise<void> {
  client.on("error", () => client.destroy());
  const refuse = (status: number, reason: string): void => endWith(client, { status, reason });
  const target = splitAuthority(request.url ?? "");
  if (target?.port === undefined) return refuse(400, "CONNECT needs host:port");
  if (gate.open >= gate.bounds.connectionsMax) return refuse(503, tooMany(gate.bounds.connectionsMax));
  gate.open += 1;
  let upstream: Socket | undefined;
  try {
    const destination = await chooseDestination(gate.deps, target.host, target.port);
    if (destination.state === "denied") return refuse(403, destination.reason);
    if (destination.state === "unresolved") return refuse(502, destination.reason);
    if (client.destroyed) return;
    upstream = await connectTo(destination.addresses, target.port, gate.bounds.connectMs);
    await join(gate, { client, head }, upstream);
  } catch (thrown) {
    const words = thrown instanceof Error ? thrown.message : "unknown";
    if (upstream === undefined) refuse(502, `${target.host} could not be reached: ${words}`);
  } finally {
    gate.open -= 1;
  }
}

/** Passes bytes both ways until both sides have ended, or either broke, or nothing moves any more. */
async function join(gate: Gate, { client, head }: Wanting, upstream: Socket): Promise<void> {
  const closed = new Promise<void>((resolve) => upstream.once("close", () => resolve()));
  const breakOff = (): void => {
    client.destroy();
    upstream.destroy();
  };
  upstream.on("error", breakOff);
  if (client.destroyed) breakOff();
  else {
    upstream.setTimeout(gate.bounds.idleMs, breakOff);
    client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
    if (head.length > 0) upstream.write(head);
    const ended = (error: Error | undefined): void => void (error && breakOff());
    passOn(client, upstream, ended);
    passOn(upstream, client, ended);
  }
  await closed;
}
