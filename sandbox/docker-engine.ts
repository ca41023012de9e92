/** A Docker engine that is talked with in bounded time, and whose errors come in words. */
import type Docker from "dockerode";
import { LIMITS } from "../contract/limits.ts";
import { SandboxError } from "./provider.ts";

/** What an engine that is asked something quick may take. */
const PING_MS = 3_000;
const WORDS_MAX = 400;

export interface DockerEngine {
  readonly docker: Docker;
  /** By a Unix socket: its containers live on this host. */
  readonly isLocal: boolean;
  /**
   * Runs one request within a bound of time (default `LIMITS.sandboxOpenMs`). Throws DockerError for what the engine refuses
   * and SandboxError `failed` when it does not answer.
   */
  call<T>(what: string, request: (docker: Docker) => Promise<T>, timeoutMs?: number): Promise<T>;
}

/** What an engine answered instead of doing it: a failure like others for who does not look closer. */
export class DockerError extends SandboxError {
  /** As HTTP has them: 404 no such thing, 409 a conflict, 304 nothing to do. */
  readonly status: number;
  /** The engine's own words, cut. */
  readonly said: string;

  constructor(what: string, status: number, said: string, options?: ErrorOptions) {
    super("failed", `the Docker engine would not ${what}: ${said}`, options);
    this.status = status;
    this.said = said;
  }
}

/**
 * `engine`: `unix:///path` or `tcp://host:port`; default: what DOCKER_HOST names, else the default socket. No request is made.
 * Throws SandboxError `failed` when that is no address.
 */
export async function connectDocker(engine: string | undefined): Promise<DockerEngine> {
  const { default: DockerClient } = await import("dockerode");
  const docker = new DockerClient(engine === undefined ? undefined : addressOf(engine));
  const { socketPath } = docker.modem as { readonly socketPath?: unknown };
  return {
    docker,
    isLocal: socketPath !== undefined,
    call: (what, request, timeoutMs = LIMITS.sandboxOpenMs) => within(what, request(docker), timeoutMs),
  };
}

export type DockerDetection =
  | {
      readonly works: true;
      readonly version: string;
      readonly isLocal: boolean;
      readonly limits: { readonly memory: boolean; readonly cpu: boolean; readonly processes: boolean };
    }
  | { readonly works: false; readonly reason: string };

/** Whether an engine answers, and what it can hold; the reason when none does. */
export async function detectDocker(engine?: string): Promise<DockerDetection> {
  try {
    const { docker, isLocal, call } = await connectDocker(engine);
    const info: EngineInfo = await call("tell what it is", () => docker.info(), PING_MS);
    if (info.OSType !== undefined && info.OSType !== "linux") {
      return { works: false, reason: `the engine runs ${info.OSType} containers, expected Linux ones` };
    }
    const limits = {
      memory: info.MemoryLimit !== false,
      cpu: info.CpuCfsQuota !== false,
      processes: info.PidsLimit !== false,
    };
    return { works: true, version: `${info.ServerVersion}`.slice(0, 40), isLocal, limits };
  } catch (thrown) {
    const where = engine ?? process.env["DOCKER_HOST"] ?? "the default socket";
    const words = thrown instanceof Error ? thrown.message : "unknown";
    return { works: false, reason: `no Docker engine answers at ${where}: ${words}` };
  }
}

interface EngineInfo {
  readonly OSType?: string;
  readonly ServerVersion?: string;
  readonly MemoryLimit?: boolean;
  readonly CpuCfsQuota?: boolean;
  readonly PidsLimit?: boolean;
}

function addressOf(engine: string): Docker.DockerOptions {
  if (engine.startsWith("unix://")) return { socketPath: engine.slice("unix://".length) };
  if (engine.startsWith("/")) return { socketPath: engine };
  const url = URL.parse(engine);
  if (url === null || !["tcp:", "http:", "https:"].includes(url.protocol) || url.hostname === "") {
    throw new SandboxError(
      "failed",
      "the engine's address is not understood: expected unix:///path or tcp://host:port",
    );
  }
  const protocol = url.protocol === "https:" ? "https" : "http";
  return { protocol, host: url.hostname, port: Number(url.port) || (protocol === "https" ? 2376 : 2375) };
}

async function within<T>(what: string, work: Promise<T>, timeoutMs: number): Promise<T> {
  const timeout = Promise.withResolvers<never>();
  const late = new SandboxError("failed", `the Docker engine did not ${what} within ${timeoutMs} ms`);
  const timer = setTimeout(() => timeout.reject(late), timeoutMs);
  try {
    return await Promise.race([work, timeout.promise]);
  } catch (thrown) {
    throw inWords(what, thrown);
  } finally {
    clearTimeout(timer);
  }
}

function inWords(what: string, thrown: unknown): Error {
  if (thrown instanceof SandboxError) return thrown;
  const said = saidBy(thrown);
  if (thrown instanceof Error && "statusCode" in thrown && typeof thrown.statusCode === "number") {
    return new DockerError(what, thrown.statusCode, said, { cause: thrown });
  }
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  const words = code === "ENOENT" || code === "ECONNREFUSED" ? "nobody listens there" : said;
  return new SandboxError("failed", `the Docker engine cannot be reached: ${words}`, { cause: thrown });
}

function saidBy(thrown: unknown): string {
  const json = thrown instanceof Error && "json" in thrown ? thrown.json : undefined;
  const message = typeof json === "object" && json !== null && "message" in json ? json.message : undefined;
  const words = typeof message === "string" ? message : thrown instanceof Error ? thrown.message : "unknown";
  return words.replace(/\s+/g, " ").trim().slice(0, WORDS_MAX);
}
