/**
 * A stand-in for a Docker engine, on a Unix socket: of its HTTP API what our provider uses. `node test/support/docker-stand-in.ts`
 * runs one and prints its address. It has no registry, no terminals and no limits.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import os from "node:os";
import path from "node:path";
import type { Duplex } from "node:stream";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { StandInContainer } from "./docker-stand-in-container.ts";
import { type ExecWish, StandInExec } from "./docker-stand-in-exec.ts";

export const STAND_IN_IMAGE = "perdure-test/stand-in:1";

export interface DockerStandIn {
  /** As `createDockerProvider` takes it. */
  readonly engine: string;
  /** Answers the next so many requests whose path matches with that status instead of doing them. */
  refuse(refusal: { readonly path: RegExp; readonly status: number; readonly times: number }): void;
  /** Drops the connections of all programs that run, as a network that breaks off would. */
  dropConnections(): void;
  close(): Promise<void>;
}

interface Engine {
  readonly folder: string;
  readonly containers: Map<string, StandInContainer>;
  readonly execs: Map<string, StandInExec>;
  /** Images by their name, with the folder that they begin with. */
  readonly images: Map<string, string | undefined>;
  readonly sockets: Set<Duplex>;
  refusal: { path: RegExp; status: number; times: number } | undefined;
}

interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

type Handler = (engine: Engine, request: Asked) => Answer | Promise<Answer>;

interface Asked {
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
  readonly body: Readonly<Record<string, unknown>>;
}

export async function startDockerStandIn(): Promise<DockerStandIn> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-engine-"));
  const images = new Map([[STAND_IN_IMAGE, undefined]]);
  const maps = { containers: new Map(), execs: new Map(), sockets: new Set<Duplex>() };
  const engine: Engine = { folder, ...maps, images, refusal: undefined };
  const server = createServer((request, response) => {
    answer(engine, request, response).catch((thrown: unknown) => reply(response, 500, { message: String(thrown) }));
  });
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => undefined); // A client that is killed leaves in the middle of anything.
    startExec(engine, request, { socket, head });
  });
  server.on("connection", (socket) => {
    engine.sockets.add(socket);
    socket.once("close", () => engine.sockets.delete(socket));
  });
  const socketPath = path.join(folder, "engine.sock");
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    engine: `unix://${socketPath}`,
    refuse: (refusal) => {
      engine.refusal = { ...refusal };
    },
    dropConnections: () => {
      for (const exec of engine.execs.values()) exec.drop();
    },
    close: () => close(engine, server),
  };
}

async function close(engine: Engine, server: Server): Promise<void> {
  await Promise.all([...engine.containers.values()].map((container) => container.remove()));
  const closed = new Promise((resolve) => server.close(resolve));
  for (const socket of engine.sockets) socket.destroy(); // Those of programs are no longer the server's.
  await closed;
  rmSync(engine.folder, { recursive: true, force: true, maxRetries: 5 });
}

async function answer(engine: Engine, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://engine");
  const place = url.pathname.replace(/^\/v[\d.]+/, "");
  const given =
    request.method === "POST" && request.headers["content-type"]?.includes("json") ? await json(request) : {};
  const refused = refusalFor(engine, place);
  if (refused !== undefined) return reply(response, refused, { message: "refused by the test" });
  const route = `${request.method} ${place}`;
  for (const [pattern, handler] of ROUTES) {
    const found = pattern.exec(route);
    if (found === null) continue;
    const parts = found.slice(1).map(decodeURIComponent);
    const body = typeof given === "object" && given !== null ? (given as Record<string, unknown>) : {};
    const { status, body: said } = await handler(engine, { parts, query: url.searchParams, body });
    return reply(response, status, said);
  }
  reply(response, 404, { message: `the stand-in has no ${route}` });
}

function refusalFor(engine: Engine, place: string): number | undefined {
  const { refusal } = engine;
  if (refusal === undefined || refusal.times <= 0 || !refusal.path.test(place)) return undefined;
  refusal.times -= 1;
  return refusal.status;
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  const text = body === undefined ? "" : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

const newId = (): string => randomBytes(32).toString("hex");

function withContainer(
  handle: (container: StandInContainer, engine: Engine, asked: Asked) => Answer | Promise<Answer>,
): Handler {
  return (engine, asked) => {
    const [wanted = ""] = asked.parts;
    const found = engine.containers.get(wanted) ?? [...engine.containers.values()].find(({ name }) => name === wanted);
    return found === undefined
      ? { status: 404, body: { message: `No such container: ${wanted}` } }
      : handle(found, engine, asked);
  };
}

const ROUTES: readonly (readonly [RegExp, Handler])[] = [
  [
    /^GET \/info$/,
    () => ({ status: 200, body: { OSType: "linux", ServerVersion: "stand-in", InitBinary: "", NCPU: 2 } }),
  ],
  [/^GET \/images\/(.+)\/json$/, ({ images }, { parts: [name = ""] }) => imageAnswer(images.has(name), { Id: name })],
  [/^DELETE \/images\/(.+)$/, ({ images }, { parts: [name = ""] }) => imageAnswer(images.delete(name), [])],
  [/^POST \/containers\/create$/, createContainer],
  [/^GET \/containers\/json$/, listContainers],
  [/^GET \/containers\/([^/]+)\/json$/, withContainer((container) => ({ status: 200, body: inspected(container) }))],
  [
    /^POST \/containers\/([^/]+)\/start$/,
    withContainer(async (container) => {
      if (container.state === "running") return { status: 304 };
      await container.start();
      return { status: 204 };
    }),
  ],
  [
    /^POST \/containers\/([^/]+)\/kill$/,
    withContainer(async (container) => {
      await container.kill();
      return { status: 204 };
    }),
  ],
  [
    /^DELETE \/containers\/([^/]+)$/,
    withContainer(async (container, { containers }) => {
      containers.delete(container.id);
      await container.remove();
      return { status: 204 };
    }),
  ],
  [
    /^POST \/containers\/([^/]+)\/exec$/,
    withContainer((container, { execs }, { body }) => {
      if (container.state !== "running")
        return { status: 409, body: { message: `Container ${container.id} is not running` } };
      const id = newId();
      execs.set(id, new StandInExec(container, body as unknown as ExecWish));
      return { status: 201, body: { Id: id } };
    }),
  ],
  [
    /^GET \/exec\/([^/]+)\/json$/,
    ({ execs }, { parts: [id = ""] }) => {
      const exec = execs.get(id);
      return exec === undefined
        ? { status: 404, body: { message: "No such exec instance" } }
        : { status: 200, body: { ID: id, Running: exec.exitCode === null, ExitCode: exec.exitCode } };
    },
  ],
  [/^POST \/commit$/, commit],
];

function imageAnswer(isThere: boolean, body: unknown): Answer {
  return isThere ? { status: 200, body } : { status: 404, body: { message: "No such image" } };
}

function createContainer({ containers, images, folder }: Engine, { query, body }: Asked): Answer {
  const name = query.get("name") ?? newId();
  const image = String(body["Image"]);
  if (!images.has(image)) return { status: 404, body: { message: `No such image: ${image}` } };
  if ([...containers.values()].some((one) => one.name === name)) {
    return { status: 409, body: { message: `Conflict. The container name "/${name}" is already in use` } };
  }
  const id = newId();
  const place = path.join(folder, id.slice(0, 12));
  containers.set(id, new StandInContainer({ id, name, configuration: body, folder: place, from: images.get(image) }));
  return { status: 201, body: { Id: id, Warnings: [] } };
}

function listContainers({ containers }: Engine, { query }: Asked): Answer {
  const filters = JSON.parse(query.get("filters") ?? "{}") as { readonly label?: readonly string[] };
  const matching = [...containers.values()].filter((container) => {
    const labels = labelsOf(container);
    return (filters.label ?? []).every((filter) => {
      const [key = "", ...value] = filter.split("=");
      return labels[key] === value.join("=");
    });
  });
  const shown = matching.filter(({ state }) => query.get("all") === "true" || state === "running");
  const body = shown.map((one) => ({
    Id: one.id,
    Names: [`/${one.name}`],
    Labels: labelsOf(one),
    State: one.state,
    Created: 0,
  }));
  return { status: 200, body };
}

function commit(engine: Engine, { query }: Asked): Answer {
  const container = engine.containers.get(query.get("container") ?? "");
  if (container === undefined) return { status: 404, body: { message: "No such container" } };
  const place = path.join(engine.folder, `image-${newId().slice(0, 12)}`);
  container.copyTo(place);
  engine.images.set(`${query.get("repo")}:${query.get("tag")}`, place);
  return { status: 201, body: { Id: `sha256:${newId()}` } };
}

function inspected(container: StandInContainer): unknown {
  const running = container.state === "running";
  return {
    Id: container.id,
    Name: `/${container.name}`,
    State: {
      Status: container.state,
      Running: running,
      Paused: false,
      Restarting: false,
      Dead: false,
      Pid: container.pid,
    },
    Config: { ...container.configuration, Labels: labelsOf(container) },
  };
}

function labelsOf({ configuration }: StandInContainer): Readonly<Record<string, string>> {
  return (configuration["Labels"] ?? {}) as Record<string, string>;
}

/** The connection stops being HTTP: what comes after the request's body is the program's standard input. */
function startExec(
  engine: Engine,
  request: IncomingMessage,
  { socket, head }: { readonly socket: Duplex; readonly head: Buffer },
): void {
  const id = /\/exec\/([0-9a-f]+)\/start/.exec(request.url ?? "")?.[1] ?? "";
  const exec = engine.execs.get(id);
  const refused = refusalFor(engine, "/exec/start");
  if (exec === undefined || refused !== undefined) {
    socket.end(`HTTP/1.1 ${refused ?? 404} No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`);
    return;
  }
  const length = Number(request.headers["content-length"] ?? 0);
  let begun = head;
  const begin = (): void => {
    socket.off("data", take);
    socket.pause();
    if (begun.length > length) socket.unshift(begun.subarray(length));
    socket.write(
      "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    );
    exec.start(socket);
  };
  const take = (piece: Buffer): void => {
    begun = Buffer.concat([begun, piece]);
    if (begun.length >= length) begin();
  };
  if (begun.length >= length) begin();
  else socket.on("data", take);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const standIn = await startDockerStandIn();
  process.stdout.write(`${standIn.engine}\n`);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      standIn.close().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
}
