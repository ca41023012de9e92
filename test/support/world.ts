/**
 * A world for tests, bench and chaos: a scripted model and a whole stack (Temporal, worker, api as processes of their
 * own) in a temporary folder on free ports, seen from outside. What it started, it ends; what outlives it is an error.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Client, Connection } from "@temporalio/client";
import { bearer } from "../../cli/client.ts";
import { identityOf, isAlive, type KnownProcess, waitGone } from "../../cli/process-identity.ts";
import { type Stack, type StackEvent, startStack } from "../../cli/stack.ts";
import { ProcessEntry, type ProcessName } from "../../cli/state-directory.ts";
import type { AgentInput } from "../../contract/agents.ts";
import { readConfig } from "../../contract/config.ts";
import type { SessionEvent } from "../../contract/events.ts";
import type { MessageAccepted, PostMessage, SessionCreated } from "../../contract/http.ts";
import type { SandboxInput, SandboxProviderName } from "../../contract/sandbox.ts";
import { readToken } from "../../store/api-token.ts";
import { EventReader } from "./event-reader.ts";
import {
  type ModelEndpoint,
  type ModelEndpointOptions,
  type ScriptStep,
  startModelEndpoint,
} from "./model-endpoint.ts";
import { processesOf } from "./stray-processes.ts";

export interface WorldOptions {
  /** Added to the environment of worker and api. */
  readonly env?: Readonly<Record<string, string>>;
  /** A Temporal server that is there already; without it the world has its own. */
  readonly temporalAddress?: string;
  readonly model?: ModelEndpointOptions;
  /** A model endpoint that is there already, with /v1. */
  readonly modelUrl?: string;
  /** Without it `local`, on whatever machine this is: tests look at the processes and paths of this host. */
  readonly sandbox?: SandboxProviderName;
}

/** What `POST /v1/sessions` takes, as far as the world uses it. */
export interface NewSession {
  readonly id?: string;
  readonly agent?: AgentInput | string | { readonly id: string; readonly version?: number };
  readonly backend?: string;
  readonly clientTools?: readonly object[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly sandbox?: SandboxInput;
  readonly title?: string;
}

/** A user's text that makes the scripted model answer with these steps. */
export function scripted(...steps: readonly ScriptStep[]): string {
  return `@@SCRIPT${JSON.stringify(steps)}@@`;
}

export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-world-"));
  const model = options.modelUrl === undefined ? await startModelEndpoint(options.model) : undefined;
  const env = environment(path.join(folder, "state"), options.modelUrl ?? model?.url ?? "", options);
  const world = new World({ folder, model, env });
  try {
    await world.start().catch(async (error: unknown) => {
      // A port that was free a moment ago, on a machine where others look for some, too.
      if (!(error instanceof Error && error.message.includes("is taken by another program"))) throw error;
      await world.start();
    });
    return world;
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
}

function environment(stateDir: string, modelUrl: string, options: WorldOptions): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(PERDURE_|OPENAI_|COPILOT_|TEMPORAL_(ADDRESS|NAMESPACE)$|VITEST|NODE_OPTIONS$|NODE_ENV$)/.test(name),
  );
  return {
    ...Object.fromEntries(kept),
    OPENAI_API_KEY: "sk-scripted",
    OPENAI_BASE_URL: modelUrl,
    PERDURE_MODEL: "scripted-model",
    PERDURE_LOG_LEVEL: "warn",
    PERDURE_PORT: "0",
    PERDURE_SANDBOX: options.sandbox ?? "local",
    PERDURE_STATE_DIR: stateDir,
    ...(options.temporalAddress !== undefined && { TEMPORAL_ADDRESS: options.temporalAddress }),
    ...options.env,
  };
}

interface WorldParts {
  readonly folder: string;
  readonly model: ModelEndpoint | undefined;
  readonly env: NodeJS.ProcessEnv;
}

export class World implements AsyncDisposable {
  /** The world's own temporary folder; the state directory is in it. Removed at the end. */
  readonly folder: string;
  readonly stateDir: string;
  /** What the supervisor told, with the time. */
  readonly stackEvents: (StackEvent & { readonly at: number })[] = [];
  /** Set it, and the folder stays after the end. */
  keepFolder = false;
  readonly #parts: WorldParts;
  readonly #started: KnownProcess[] = [];
  readonly #readers: EventReader[] = [];
  #stack: Stack | undefined;
  #apiPort = 0;
  #connection: Connection | undefined;

  constructor(parts: WorldParts) {
    this.#parts = parts;
    this.folder = parts.folder;
    this.stateDir = path.join(parts.folder, "state");
  }

  get stack(): Stack {
    if (!this.#stack) throw new Error("the world's stack does not run");
    return this.#stack;
  }

  /** The scripted model, where it is this world's own. */
  get model(): ModelEndpoint {
    if (!this.#parts.model) throw new Error("this world uses a model endpoint of somebody else");
    return this.#parts.model;
  }

  /** The body of the newest model call. A worker that tries its backends asks the endpoint, too, but only for its models. */
  lastModelCall(): string {
    return this.model.requests.findLast(({ raw }) => raw !== undefined && raw.length > 0)?.raw?.toString() ?? "";
  }

  get hasOwnTemporal(): boolean {
    return !this.#parts.env["TEMPORAL_ADDRESS"];
  }

  get url(): string {
    return `http://127.0.0.1:${this.#apiPort}`;
  }

  /** Starts the stack, on the same state and the same port as before. */
  async start(): Promise<void> {
    const env = { ...this.#parts.env, PERDURE_PORT: String(this.#apiPort) };
    const stack = await startStack({
      config: readConfig(env),
      env,
      onEvent: (event) => this.#hear(event),
      temporalPorts: "any",
    });
    this.#stack = stack;
    this.#apiPort = Number(new URL(stack.apiUrl).port);
  }

  /** Ends the whole stack, in order or without asking, and waits until it is gone. */
  async stop(how: "drain" | "kill" = "drain"): Promise<void> {
    const stack = this.#stack;
    this.#stack = undefined;
    if (how === "kill") stack?.kill();
    await stack?.stop();
    await this.#connection?.close();
    this.#connection = undefined;
  }

  async restart(how: "drain" | "kill" = "drain"): Promise<void> {
    await this.stop(how);
    await this.start();
  }

  /** What `processes.json` says now. */
  processes(): readonly ProcessEntry[] {
    return ProcessEntry.array().parse(JSON.parse(readFileSync(path.join(this.stateDir, "processes.json"), "utf8")));
  }

  pidOf(name: ProcessName): number {
    const entry = this.processes().find((process) => process.name === name);
    if (!entry) throw new Error(`${name} is not in processes.json`);
    return entry.pid;
  }

  /** SIGKILL, by the pid that `processes.json` tells, which it returns. */
  kill(name: ProcessName): number {
    const pid = this.pidOf(name);
    process.kill(pid, "SIGKILL");
    return pid;
  }

  /** Resolves when the stack has said that this process is ready, after so many events of the stack. */
  async untilReady(name: ProcessName, since: number, deadlineMs = 30_000): Promise<void> {
    await waitFor(
      `${name} is ready`,
      () => this.stackEvents.slice(since).some((event) => event.type === "ready" && event.name === name),
      deadlineMs,
    );
  }

  /** Temporal's own client, for facts about workflows. */
  async temporal(): Promise<Client> {
    this.#connection ??= await Connection.connect({ address: this.stack.temporalAddress });
    return new Client({ connection: this.#connection });
  }

  /** What says to the API who we are. */
  get headers(): Readonly<Record<string, string>> {
    return bearer(readToken(this.stateDir));
  }

  /** The platform's own, at a path of the API or at its whole address, with this world's token. */
  async fetch(target: string, init: RequestInit = {}): Promise<Response> {
    const url = new URL(target, this.url);
    return await fetch(url, { ...init, headers: { ...this.headers, ...(init.headers as Record<string, string>) } });
  }

  /** One request to the API: the status and the JSON of its answer. */
  async request<T = unknown>(method: string, route: string, body?: unknown): Promise<{ status: number; body: T }> {
    const response = await this.fetch(route, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    const text = await response.text();
    return { status: response.status, body: (text === "" ? undefined : JSON.parse(text)) as T };
  }

  async createSession(session: NewSession = {}): Promise<SessionClient> {
    const answer = await this.request<SessionCreated>("POST", "/v1/sessions", session);
    expectStatus(answer, 201, 200);
    return this.session(answer.body.id);
  }

  session(id: string): SessionClient {
    return new SessionClient(this, id);
  }

  /** A reader that ends with the world, if it has not been ended before. */
  openReader(id: string, reconnectMs?: number): EventReader {
    const url = `${this.url}/v1/sessions/${id}`;
    const reader = new EventReader({ url, headers: this.headers, ...(reconnectMs !== undefined && { reconnectMs }) });
    this.#readers.push(reader);
    return reader;
  }

  /** Ends all of it. @throws Error that names what outlived the stack, which is ended then, too. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const reader of this.#readers) await reader[Symbol.asyncDispose]();
    await this.stop();
    await this.#parts.model?.close();
    const survivors = await waitGone(this.#started, 1_000);
    // Commands outlive the worker, so those of sessions that were never closed are still there, and rightly so.
    for (const pid of [...survivors.map((known) => known.pid), ...processesOf(this.folder)]) end(pid);
    if (!this.keepFolder) rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
    if (survivors.length > 0) {
      throw new Error(`processes outlived their stack: pid ${survivors.map((known) => known.pid).join(", ")}`);
    }
  }

  #hear(event: StackEvent): void {
    this.stackEvents.push({ ...event, at: Date.now() });
    if (event.type !== "started" && event.type !== "restarted") return;
    const identity = identityOf(event.pid);
    if (identity !== undefined) this.#started.push({ pid: event.pid, identity });
  }

  /** Whether `processes.json` names exactly the living processes of the stack. */
  hasTrueProcessList(): boolean {
    const listed = this.processes();
    const known = listed.every(({ pid }) => this.#started.some((one) => one.pid === pid && isAlive(one)));
    return known && JSON.stringify(listed) === JSON.stringify(this.stack.processes());
  }
}

/** One session, as a client sees it. */
export class SessionClient {
  readonly id: string;
  readonly #world: World;

  constructor(world: World, id: string) {
    this.#world = world;
    this.id = id;
  }

  async post(message: string | { content: PostMessage["content"]; id?: string; mode?: PostMessage["mode"] }) {
    const body = typeof message === "string" ? { content: message } : message;
    const answer = await this.#world.request<MessageAccepted>("POST", `/v1/sessions/${this.id}/messages`, body);
    expectStatus(answer, 202);
    return answer.body;
  }

  /** Opens the stream of its events, from the first one on. */
  stream(reconnectMs?: number): EventReader {
    return this.#world.openReader(this.id, reconnectMs);
  }

  /** The whole log, page by page. */
  async log(): Promise<readonly SessionEvent[]> {
    const events: SessionEvent[] = [];
    for (let after = 0; ; ) {
      const route = `/v1/sessions/${this.id}/events?after=${after}&limit=1000`;
      const answer = await this.#world.request<{ events: SessionEvent[]; next: number }>("GET", route);
      expectStatus(answer, 200);
      if (answer.body.events.length === 0) return events;
      events.push(...answer.body.events);
      after = answer.body.next;
    }
  }

  async interrupt(): Promise<void> {
    expectStatus(await this.#world.request("POST", `/v1/sessions/${this.id}/interrupt`, {}), 200, 202);
  }

  async close(): Promise<void> {
    expectStatus(await this.#world.request("POST", `/v1/sessions/${this.id}/close`, {}), 200, 202);
  }
}

/** Looks every few milliseconds until the condition holds. For what tells nobody when it changes. */
export async function waitFor(
  what: string,
  holds: () => boolean | Promise<boolean>,
  deadlineMs = 10_000,
): Promise<void> {
  for (const deadline = Date.now() + deadlineMs; !(await holds()); ) {
    if (Date.now() > deadline) throw new Error(`waited ${deadlineMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function expectStatus(answer: { status: number; body: unknown }, ...statuses: readonly number[]): void {
  if (statuses.includes(answer.status)) return;
  throw new Error(`expected ${statuses.join(" or ")}, got ${answer.status}: ${JSON.stringify(answer.body)}`);
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}
