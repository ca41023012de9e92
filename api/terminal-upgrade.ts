/** From an HTTP request to a WebSocket: everything that can be refused is refused before, as a problem document. */
import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { WebSocket, WebSocketServer } from "ws";
import { ProblemError } from "../contract/errors.ts";
import { newId, type SessionId, type TerminalId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { TerminalQuery } from "../contract/terminals.ts";
import { getSession } from "../store/sessions.ts";
import {
  closeTerminal,
  findTerminal,
  leaveTerminal,
  makeTerminal,
  newestTerminal,
  type TerminalRecord,
  takeTerminal,
} from "../store/terminals.ts";
import { callerOf } from "./caller-shares.ts";
import type { Dependencies } from "./dependencies.ts";
import { parseFrom } from "./input.ts";
import { SessionParams } from "./parameters.ts";
import { CHALLENGE, PROBLEM_TYPE, toProblem, toProblemError } from "./problem.ts";
import { checkCaller } from "./request-guard.ts";
import { TerminalConnection } from "./terminal-connection.ts";
import { isWriterGone, newWriter } from "./terminal-writer.ts";

const ROUTE = /^\/v1\/sessions\/([^/]+)\/terminal$/;
const SIZE = { columns: 80, rows: 24 } as const;
const LOOK_EVERY_MS = 10;

/** Whether Node should hand a request over, and not answer it as the plain request that it is as well (h2c, for one). */
export function isWebSocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === "websocket";
}

export function acceptTerminals(server: Server, deps: Dependencies): void {
  let loaded: Promise<WebSocketServer> | undefined;
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const gone = new AbortController();
    socket.on("error", () => gone.abort());
    socket.once("close", () => gone.abort());
    const accept = async (): Promise<void> => {
      takePlace(deps, request, socket);
      const place = await prepare(deps, request, gone.signal);
      loaded ??= loadServer();
      (await loaded).handleUpgrade(request, socket, head, (webSocket) => {
        connect(deps, webSocket, place).catch((error: unknown) => {
          report(deps, error);
          webSocket.terminate();
        });
      });
    };
    accept().catch((error: unknown) => refuse(deps, socket, error));
  });
}

/** Until the socket is closed, whatever comes of it. Throws TOO_MANY_STREAMS. */
function takePlace({ sockets }: Dependencies, request: IncomingMessage, socket: Duplex): void {
  const caller = callerOf(request.socket);
  if (!sockets.take(caller, 1)) {
    throw new ProblemError(
      "TOO_MANY_STREAMS",
      `${sockets.taken} WebSockets are open, the most this process serves, or your share of them; close some`,
    );
  }
  socket.once("close", () => sockets.giveBack(caller, 1));
}

/** When it is first needed: most APIs never open a terminal. */
async function loadServer(): Promise<WebSocketServer> {
  const { WebSocketServer: Loaded } = await import("ws");
  return new Loaded({ noServer: true, maxPayload: LIMITS.terminalMessageBytesMax, perMessageDeflate: false });
}

interface Place {
  readonly terminal: TerminalRecord;
  readonly onlyWatches: boolean;
}

async function prepare(deps: Dependencies, request: IncomingMessage, gone: AbortSignal): Promise<Place> {
  checkCaller(request.headers);
  deps.authentication.checkSocket(request);
  const url = new URL(request.url ?? "/", "http://localhost");
  const sessionId = ROUTE.exec(url.pathname)?.[1];
  if (sessionId === undefined || !isWebSocket(request)) {
    throw new ProblemError("NOT_FOUND", `there is no WebSocket at ${url.pathname.slice(0, 200)}; see /docs`);
  }
  if (deps.terminals.isDraining) throw new ProblemError("UNAVAILABLE", "this server is going down; try again");
  const params = parseFrom(SessionParams, { sessionId }, "path");
  const query = parseFrom(TerminalQuery, valuesOf(url.searchParams), "query");
  const session = await getSession(deps.store.database, params.sessionId);
  const terminal = await theTerminal(deps, { sessionId: session.id, query, gone });
  const watchers = deps.terminals.watchersOf(terminal.id);
  if (watchers >= LIMITS.terminalWatchersMax) {
    throw new ProblemError("TOO_MANY_STREAMS", `${watchers} watch terminal ${terminal.id} here already, the most`);
  }
  return { terminal, onlyWatches: query.watch === "true" };
}

/** A name that is there twice is a list, as the schemas of other routes see it. */
function valuesOf(parameters: URLSearchParams): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    [...new Set(parameters.keys())].map((name) => {
      const values = parameters.getAll(name);
      return [name, values.length === 1 ? values[0] : values];
    }),
  );
}

interface Wanted {
  readonly sessionId: SessionId;
  readonly query: TerminalQuery;
  readonly gone: AbortSignal;
}

async function theTerminal(deps: Dependencies, wanted: Wanted): Promise<TerminalRecord> {
  const { sessionId, query } = wanted;
  const { database } = deps.store;
  if (query.terminal === undefined && query.watch !== "true") return await openNew(deps, wanted);
  const found = query.terminal
    ? await findTerminal(database, query.terminal)
    : await newestTerminal(database, sessionId);
  if (found?.sessionId !== sessionId) {
    const which = query.terminal === undefined ? "no open terminal" : `no terminal ${query.terminal}`;
    throw new ProblemError("NOT_FOUND", `session ${sessionId} has ${which}`);
  }
  return await untilOpen(deps, found.id, wanted.gone);
}

async function openNew(deps: Dependencies, { sessionId, query, gone }: Wanted): Promise<TerminalRecord> {
  const key = { sessionId, terminalId: newId("term") };
  const size = { columns: query.columns ?? SIZE.columns, rows: query.rows ?? SIZE.rows };
  await makeTerminal(deps.store.database, key, size);
  try {
    await deps.sessions.serveTerminal(key);
    return await untilOpen(deps, key.terminalId, gone);
  } catch (error) {
    await closeTerminal(deps.store.database, key, "it was never opened");
    throw error;
  }
}

/** Throws CONFLICT with the reason when it is closed, and UNAVAILABLE when no worker opens it in time. */
async function untilOpen(deps: Dependencies, id: TerminalId, gone: AbortSignal): Promise<TerminalRecord> {
  for (const deadline = Date.now() + LIMITS.terminalOpenMs; ; ) {
    const terminal = await findTerminal(deps.store.database, id);
    if (terminal?.state === "open") return terminal;
    if (!terminal || terminal.state === "closed") {
      throw new ProblemError("CONFLICT", `terminal ${id} is closed: ${terminal?.reason ?? "its session is gone"}`);
    }
    if (gone.aborted) throw new ProblemError("UNAVAILABLE", "whoever asked for the terminal has left");
    if (Date.now() > deadline) {
      throw new ProblemError("UNAVAILABLE", "no worker has opened the terminal in time; is one running?");
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function connect(deps: Dependencies, webSocket: WebSocket, { terminal, onlyWatches }: Place): Promise<void> {
  const { database } = deps.store;
  const { id, columns, rows } = terminal;
  const watches = deps.terminals;
  const token = newWriter();
  const place = {
    terminalId: id,
    token,
    onlyWatches,
    database,
    watches,
    unread: deps.unread,
    onError: (error: unknown) => report(deps, error),
  };
  const connection = new TerminalConnection(webSocket, place);
  const left = new Promise<void>((resolve) => webSocket.once("close", () => resolve()));
  connection.notice({ type: "opened", terminalId: id, columns, rows });
  if (!onlyWatches) {
    const { writer } = terminal;
    if (writer !== null && isWriterGone(writer)) await leaveTerminal(database, id, writer);
    await takeTerminal(database, id, { writer: token, ifFree: true });
  }
  await watches.join(terminal, connection);
  await left;
  watches.leave(id, connection);
  await connection.settled();
  if (!onlyWatches) await leaveTerminal(database, id, token);
}

function report(deps: Dependencies, error: unknown): void {
  deps.logger.error({ err: error }, "a terminal could not be followed");
}

/** There is no response object here: the answer is written as bytes. */
function refuse(deps: Dependencies, socket: Duplex, error: unknown): void {
  const problem = toProblem(toProblemError(error));
  if (problem.status >= 500) deps.logger.error({ err: error }, "a terminal was refused");
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = JSON.stringify(problem);
  const headers = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? "Refused"}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    ...(problem.status === 401 ? [`WWW-Authenticate: ${CHALLENGE}`] : []),
    ...(problem.status === 503 && problem.retryable ? ["Retry-After: 1"] : []),
    "Connection: close",
  ];
  socket.end(`${headers.join("\r\n")}\r\n\r\n${body}`);
}
