/**
 * Plain HTTP through the proxy: one request, one connection to the outside. Both sides are parsed and written anew, so that
 * no two readers can disagree on where a message ends; what belongs to one hop only stays on it.
 */
import { type IncomingMessage, request as makeRequest, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { canonicalHost } from "./allow-list.ts";
import { chooseDestination, connectTo } from "./destination.ts";
import { passOn } from "./passing.ts";
import type { Gate } from "./proxy.ts";
import { answerRefusal, type Refusal, tooMany } from "./refusal.ts";

/** Of one hop, whether `Connection` names them or not. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...["connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"],
  ...["proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "http2-settings", "expect"],
]);
const HTTP_PORT = 80;

interface Target {
  readonly host: string;
  readonly port: number;
  /** As it goes into `Host`. */
  readonly authority: string;
  readonly path: string;
}

/** `host:port` as it stands in a request; the port is undefined when there is none. Undefined when it is no such thing. */
export function splitAuthority(text: string): { readonly host: string; readonly port: number | undefined } | undefined {
  const [, host, port] = /^(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\\[\]]+)(?::(\d{1,5}))?$/.exec(text) ?? [];
  return host === undefined ? undefined : { host, port: port === undefined ? undefined : Number(port) };
}

export async function forwardRequest(gate: Gate, request: IncomingMessage, response: ServerResponse): Promise<void> {
  // Before any answer: whoever asked may be gone.
  response.on("error", () => response.destroy());
  const refuse = (refusal: Refusal): void => {
    request.resume();
    answerRefusal(response, refusal);
  };
  const target = targetOf(request);
  if ("status" in target) return refuse(target);
  const { connectionsMax, connectMs } = gate.bounds;
  if (gate.open >= connectionsMax) return refuse({ status: 503, reason: tooMany(connectionsMax) });
  gate.open += 1;
  try {
    const destination = await chooseDestination(gate.deps, target.host, target.port);
    if (destination.state !== "allowed") {
      return refuse({ status: destination.state === "denied" ? 403 : 502, reason: destination.reason });
    }
    if (request.socket.destroyed) return;
    const socket = await connectTo(destination.addresses, target.port, connectMs);
    await exchange(gate, { request, response, target, socket });
  } catch (thrown) {
    const words = thrown instanceof Error ? thrown.message : "unknown";
    refuse({ status: 502, reason: `${target.host} could not be reached: ${words}` });
  } finally {
    gate.open -= 1;
  }
}

function targetOf(request: IncomingMessage): Target | Refusal {
  const [, authority, rest] = /^http:\/\/([^/?#]*)([^#]*)$/i.exec(request.url ?? "") ?? [];
  if (authority === undefined || rest === undefined) {
    return { status: 400, reason: "this is a proxy: expected http://host/path, or CONNECT host:port" };
  }
  const named = splitAuthority(authority);
  if (named === undefined) return { status: 400, reason: "the request's host cannot be understood" };
  const hosts = request.rawHeaders.filter((_, index, all) => index % 2 === 1 && isHost(all[index - 1]));
  if (hosts.length > 1 || (hosts[0] !== undefined && !isSame(hosts[0], named))) {
    return { status: 400, reason: "the Host header names another host than the request's line" };
  }
  const encoding = request.headers["transfer-encoding"];
  if (encoding !== undefined && encoding.toLowerCase() !== "chunked") {
    return { status: 501, reason: "of transfer encodings this proxy knows chunked only" };
  }
  const path = rest.startsWith("/") ? rest : `/${rest}`;
  return { host: named.host, port: named.port ?? HTTP_PORT, authority, path };
}

function isHost(name: string | undefined): boolean {
  return name?.toLowerCase() === "host";
}

function isSame(header: string, named: { readonly host: string; readonly port: number | undefined }): boolean {
  const given = splitAuthority(header);
  const host = given && canonicalHost(given.host)?.host;
  const isSameHost = host === undefined ? given?.host === named.host : host === canonicalHost(named.host)?.host;
  return isSameHost && (given?.port ?? HTTP_PORT) === (named.port ?? HTTP_PORT);
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly socket: Socket;
}

/** Resolves when the connection to the outside is closed; rejects when it failed before there was an answer. */
async function exchange(gate: Gate, { request, response, target, socket }: Exchange): Promise<void> {
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.setTimeout(gate.bounds.idleMs, () => socket.destroy(new Error("it did not answer in time")));
  socket.on("error", () => socket.destroy());
  // The connection and not the response: of those that wait behind another the end is not told.
  const client = request.socket;
  const leave = (): void => void socket.destroy();
  client.once("close", leave);
  try {
    await answerFrom(socket, { request, response, target });
  } finally {
    client.off("close", leave);
    socket.destroy();
    await closed;
  }
}

/** Resolves when the answer was passed on or broke off; rejects when there was none. */
function answerFrom(
  socket: Socket,
  { request, response, target }: Pick<Exchange, "request" | "response" | "target">,
): Promise<void> {
  const body = framing(request);
  return new Promise<void>((resolve, reject) => {
    const outgoing = makeRequest({
      createConnection: () => socket,
      method: request.method,
      path: target.path,
      headers: ["Host", target.authority, ...endToEnd(request), ...body.headers],
      setHost: false,
    });
    outgoing.on("error", reject);
    // It switched to another protocol, which it was not asked for.
    const onClose = (): void => reject(new Error("it gave no answer"));
    outgoing.once("close", onClose);
    outgoing.on("response", (incoming) => {
      outgoing.off("close", onClose);
      try {
        response.writeHead(incoming.statusCode ?? 502, incoming.statusMessage, endToEnd(incoming));
      } catch {
        return reject(new Error("its answer cannot be passed on"));
      }
      passOn(incoming, response, (error) => {
        socket.destroy();
        if (error) response.destroy();
        resolve();
      });
    });
    if (body.isThere) passOn(request, outgoing, () => undefined);
    else outgoing.end();
  });
}

/** Whether a request has a body, and what must be said of it beside its own length. */
function framing({ headers, method }: IncomingMessage): {
  readonly isThere: boolean;
  readonly headers: readonly string[];
} {
  if (headers["transfer-encoding"] !== undefined) return { isThere: true, headers: ["Transfer-Encoding", "chunked"] };
  const length = headers["content-length"];
  return {
    isThere: Number(length ?? 0) > 0,
    headers: length === undefined && method === "POST" ? ["Content-Length", "0"] : [],
  };
}

/** The headers of a message that are meant for its receiver, names and values in turn. Ours replaces `Host`. */
function endToEnd(message: IncomingMessage): string[] {
  const named = (message.headers.connection ?? "").toLowerCase().split(",");
  const dropped = new Set([...HOP_BY_HOP, "host", ...named.map((name) => name.trim())]);
  // Whoever names it there would have the body sent without an end.
  dropped.delete("content-length");
  return message.rawHeaders.filter((_, index, all) => !dropped.has((all[index - (index % 2)] ?? "").toLowerCase()));
}
