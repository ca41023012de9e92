/** The real API on a free port, over a real store in a folder of its own, with the gateway that fails on demand. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import type { ApiToken } from "../../api/authentication.ts";
import type { EdgeBounds } from "../../api/edge-bounds.ts";
import { type RunningApi, startServer } from "../../api/server.ts";
import type { Fact } from "../../contract/events.ts";
import type { SessionId } from "../../contract/ids.ts";
import { append } from "../../store/event-log.ts";
import { openStore, type Store } from "../../store/store.ts";
import { FakeSessions } from "./fake-sessions.ts";
import { OpenApiCheck } from "./openapi-check.ts";
import { type OpenStream, openStream } from "./sse-reader.ts";

/** An answer whose status, type and body are as the served document says. */
export interface Checked {
  readonly status: number;
  readonly headers: Headers;
  // The tests say what they expect of it.
  readonly body: Record<string, unknown>;
  readonly bytes: Buffer;
}

export interface CallOptions {
  readonly json?: unknown;
  readonly text?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Record<string, string>;
}

export class ApiWorld implements AsyncDisposable {
  readonly store: Store;
  readonly sessions: FakeSessions;
  readonly stateDir: string;
  readonly api: RunningApi;
  readonly #check: Promise<OpenApiCheck>;

  constructor(parts: { store: Store; sessions: FakeSessions; stateDir: string; api: RunningApi }) {
    this.store = parts.store;
    this.sessions = parts.sessions;
    this.stateDir = parts.stateDir;
    this.api = parts.api;
    this.#check = OpenApiCheck.load(this.url);
    this.#check.catch(() => undefined); // Whoever awaits it will say so.
  }

  /** Without a token nobody is asked for one. */
  static async start(token?: ApiToken, bounds?: EdgeBounds): Promise<ApiWorld> {
    const stateDir = await mkdtemp(path.join(tmpdir(), "perdure-api-"));
    const store = await openStore(stateDir);
    const sessions = new FakeSessions(store);
    const api = await startServer(
      { store, sessions, logger: pino({ level: "silent" }), token, ...(bounds && { bounds }) },
      { host: "127.0.0.1", port: 0 },
    );
    return new ApiWorld({ store, sessions, stateDir, api });
  }

  get url(): string {
    return `http://127.0.0.1:${this.api.port}`;
  }

  /** Calls the API as `METHOD /path`, and checks its answer against the document. */
  async call(route: string, options: CallOptions = {}): Promise<Checked> {
    const [method = "GET", target = "/"] = route.split(" ");
    const response = await fetch(this.url + target, {
      method,
      headers: { ...(options.json !== undefined && { "content-type": "application/json" }), ...options.headers },
      ...(options.json !== undefined && { body: JSON.stringify(options.json) }),
      ...(options.text !== undefined && { body: options.text }),
      signal: AbortSignal.timeout(15_000),
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    const { status, headers } = response;
    const isJson = /json/.test(headers.get("content-type") ?? "") && bytes.length > 0;
    const body = isJson ? (JSON.parse(bytes.toString()) as Record<string, unknown>) : {};
    (await this.#check).verify({ method, target, status, headers, body, bytes });
    return { status, headers, body, bytes };
  }

  async createSession(body: unknown = {}): Promise<SessionId> {
    const { body: session } = await this.call("POST /v1/sessions", { json: body });
    return String(session["id"]);
  }

  stream(target: string, headers: Record<string, string> = {}): Promise<OpenStream> {
    return openStream(this.url + target, headers);
  }

  /** Appends facts as a worker in another process would: the API finds them by itself. */
  async append(sessionId: SessionId, ...facts: Fact[]): Promise<number> {
    return await this.store.database.write((tx) => append(tx, sessionId, facts));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api.drain();
    await this.store[Symbol.asyncDispose]();
    await rm(this.stateDir, { recursive: true, force: true });
  }
}

/** Resolves when the condition holds; fails at the deadline. */
export async function until(condition: () => boolean | Promise<boolean>, deadlineMs = 5_000): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`the condition did not hold within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A fact that is easily told from others: the n-th delta of a text. */
export function aDelta(n: number, text = `${n}`): Fact {
  return { type: "block.delta", turnId: "turn_t", step: 1, index: n, text };
}
