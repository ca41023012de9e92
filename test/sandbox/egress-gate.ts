/** A proxy on a Unix socket with scripted names, a raw client for it, and servers on 127.0.0.1 for it to reach. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import os from "node:os";
import path from "node:path";
import { allowList } from "../../sandbox/egress/allow-list.ts";
import { createProxy, type ProxyBounds } from "../../sandbox/egress/proxy.ts";
import type { NetworkDecision } from "../../sandbox/provider.ts";

export interface TestGate extends AsyncDisposable {
  readonly socketPath: string;
  readonly decisions: readonly NetworkDecision[];
  /** Names that were asked for, in order. */
  readonly asked: readonly string[];
  /** Sends these bytes on a new connection and resolves with all that came back until `until` or its end. */
  say(bytes: string | Buffer, until?: string): Promise<string>;
  dial(): Socket;
}

export interface GateOptions {
  readonly allow: readonly string[];
  /** What names lead to. A list of lists: one after the other, as a name that is rebound would. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly bounds?: Partial<ProxyBounds>;
}

export async function openGate({ allow, names = {}, bounds = {} }: GateOptions): Promise<TestGate> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "egress-"));
  const socketPath = path.join(folder, "proxy.sock");
  const decisions: NetworkDecision[] = [];
  const asked: string[] = [];
  const proxy = createProxy({
    list: allowList(allow),
    record: { add: (decision) => void decisions.push(decision) },
    resolve: async (name) => {
      asked.push(name);
      const found = names[name];
      if (found === undefined) throw new Error(`ENOTFOUND ${name}`);
      return found;
    },
    bounds,
  });
  proxy.listen(socketPath);
  await once(proxy, "listening");
  const sockets = new Set<Socket>();
  const dial = (): Socket => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    sockets.add(socket);
    return socket;
  };
  return {
    socketPath,
    decisions,
    asked,
    dial,
    async say(bytes, until) {
      const socket = dial();
      socket.write(bytes);
      return await everything(socket, until);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      proxy.closeAllConnections();
      proxy.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** All that a socket gives until it ends, breaks, or has given a text. */
export async function everything(socket: Socket, until?: string): Promise<string> {
  const parts: Buffer[] = [];
  return await new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      resolve(Buffer.concat(parts).toString("latin1"));
    };
    const timer = setTimeout(done, 8_000);
    socket.on("data", (part: Buffer) => {
      parts.push(part);
      if (until !== undefined && Buffer.concat(parts).includes(until)) done();
    });
    socket.once("end", done);
    socket.once("error", done);
    socket.once("close", done);
  });
}

export interface Origin extends AsyncDisposable {
  readonly port: number;
  /** What each connection brought, in the order in which they came. */
  readonly heard: readonly string[];
}

/** A server on 127.0.0.1 that answers what it is given, byte by byte; `answer` is called when a head is complete. */
export async function openOrigin(answer: (socket: Socket, heard: string) => void): Promise<Origin> {
  const heard: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    const index = heard.push("") - 1;
    sockets.add(socket);
    let isAnswered = false;
    socket.on("error", () => socket.destroy());
    socket.on("data", (data: Buffer) => {
      heard[index] += data.toString("latin1");
      if (isAnswered || !heard[index]?.includes("\r\n\r\n")) return;
      isAnswered = true;
      answer(socket, heard[index] ?? "");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    heard,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Answers every request with a short text, and ends. */
export const answerOk = (socket: Socket): void =>
  void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
