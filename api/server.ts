/** The app on a socket, and its orderly end. */
import { createServer, type Server, STATUS_CODES } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { createApp } from "./app.ts";
import { CallerShares, callerOf } from "./caller-shares.ts";
import { createDependencies, type Dependencies, type Outside } from "./dependencies.ts";
import { PROBLEM_TYPE, toProblem } from "./problem.ts";
import { acceptTerminals, isWebSocket } from "./terminal-upgrade.ts";

const KEEP_ALIVE_MS = 30_000;
/** For connections that have not sent a request's head in time. */
const LOOK_EVERY_MS = 5_000;

export interface RunningApi {
  readonly port: number;
  /** Ends streams in words, lets requests finish within LIMITS.drainMs, and cuts what is left. */
  drain(): Promise<void>;
}

/** Listens. Rejects with Node's error when the port is taken. */
export async function startServer(
  outside: Outside,
  at: { readonly host: string; readonly port: number },
): Promise<RunningApi> {
  const deps = createDependencies(outside);
  const { bounds } = deps;
  const server = createServer(
    {
      shouldUpgradeCallback: isWebSocket,
      headersTimeout: bounds.headMs,
      // Bodies have their own rules, and a large one may take its time; this is for those that nobody reads.
      requestTimeout: LIMITS.workspaceTransferMs,
      connectionsCheckingInterval: Math.min(bounds.headMs / 4, LOOK_EVERY_MS),
      keepAliveTimeout: KEEP_ALIVE_MS,
    },
    createApp(deps),
  );
  acceptTerminals(server, deps);
  server.maxConnections = bounds.connections;
  server.timeout = bounds.idleMs;
  shareConnections(server, bounds.connections);
  server.on("clientError", answerUnreadable);
  // Node would answer an `Expect` that it does not know by itself, with 417 and no words; it may as well be ignored.
  server.on("checkExpectation", (request, response) => server.emit("request", request, response));
  try {
    await listen(server, at);
  } catch (error) {
    await deps[Symbol.asyncDispose]();
    throw error;
  }
  deps.delivery.startReconciler();
  deps.decisions.startReconciler();
  deps.commands.startReconciler();
  deps.idle.start();
  deps.agreement.start();
  deps.left.start();
  let draining: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    drain: () => {
      draining ??= drain(server, deps);
      return draining;
    },
  };
}

function listen(server: Server, at: { readonly host: string; readonly port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(at.port, at.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

async function drain(server: Server, deps: Dependencies): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  deps.streams.drain();
  deps.terminals.drain();
  // Requests that wait for a delivery are answered now: what they brought is in rows, and the next process delivers it.
  const stopped = Promise.all(
    [deps.delivery, deps.decisions, deps.commands].map((delivery) => delivery[Symbol.asyncDispose]()),
  );
  server.closeIdleConnections();
  // Connections become idle one by one as their requests end, and Node closes only those that are idle when it looks.
  const sweep = setInterval(() => server.closeIdleConnections(), 50);
  const cut = setTimeout(() => server.closeAllConnections(), LIMITS.drainMs * 0.75);
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
  await stopped;
  await deps[Symbol.asyncDispose]();
}

/** One who opens connections and leaves them leaves some for others. */
function shareConnections(server: Server, most: number): void {
  const shares = new CallerShares(most);
  server.on("connection", (socket: Socket) => {
    const caller = callerOf(socket);
    if (shares.take(caller, 1)) socket.once("close", () => shares.giveBack(caller, 1));
    else socket.destroy();
  });
}

/** What is no HTTP, or does not come to its end, never reaches the app; it is answered here, in the same words. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = toProblem(problemOf(error.code));
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? "Refused"}\r\nContent-Type: ${PROBLEM_TYPE}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

function problemOf(code = "unknown"): ProblemError {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return new ProblemError("REQUEST_TIMEOUT", "expected the whole request sooner; send it again");
  }
  return new ProblemError("INVALID_INPUT", `expected HTTP/1.1; the request cannot be read (${code})`);
}
