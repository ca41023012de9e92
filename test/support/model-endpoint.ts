/**
 * A scripted model endpoint: a real HTTP server on the loopback that speaks OpenAI's Responses and Chat Completions wires
 * and Anthropic's Messages wire.
 *
 * The newest user text may hold a script, `@@SCRIPT[{"text":"hello"},{"tools":[{"name":"bash","args":{}}]}]@@`: its step i
 * answers the i-th model turn after that text. It keeps no conversation, so it answers the same after a kill, on a retry
 * and for many sessions at once. Run it by itself with `node test/support/model-endpoint.ts --port=0`.
 */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Frame, ReplyContext } from "./model-replies.ts";
import { type Place, ScriptReader, type ScriptStep, stepAt } from "./model-script.ts";
import { ANTHROPIC, RESPONSES, WIRES, type Wire } from "./model-wires.ts";
import { asScriptBody, readConversation } from "./seen-conversation.ts";

export type { ScriptStep } from "./model-script.ts";

export interface ModelEndpointOptions {
  /** 0, the default: a free one. */
  readonly port?: number;
  /** Characters per streamed piece. */
  readonly piece?: number;
  /** How many of the newest bodies `requests` keeps; older entries stay, without their body. */
  readonly bodiesKept?: number;
  /** Ids that `GET /v1/models` lists. */
  readonly models?: readonly string[];
  /** The only key that is accepted; any other is answered with 401. Default: all are. */
  readonly key?: string;
}

/** One request as the endpoint saw it. */
export interface SeenRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The bytes of the body; undefined when it is older than the newest `bodiesKept`. */
  readonly raw: Buffer | undefined;
  /** The parsed body; parsed anew at each look. */
  readonly body: unknown;
  readonly at: number;
  /** When the client went away before it had the whole answer. */
  readonly closedEarlyAt: number | undefined;
}

export interface ModelEndpoint extends AsyncDisposable {
  /** Base URL, with /v1. */
  readonly url: string;
  readonly requests: readonly SeenRequest[];
  /** The script of conversations that carry none; it begins anew with each user message. */
  script(...steps: ScriptStep[]): void;
  /** Resolves as soon as the condition holds; it is looked at after each request, answer and close. */
  until(condition: () => boolean, deadlineMs?: number): Promise<void>;
  close(): Promise<void>;
}

class Seen implements SeenRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly at = Date.now();
  raw: Buffer | undefined;
  closedEarlyAt: number | undefined;

  constructor(request: IncomingMessage, raw: Buffer) {
    this.path = request.url ?? "";
    this.headers = request.headers;
    this.raw = raw;
  }

  get body(): unknown {
    if (this.raw === undefined || this.raw.length === 0) return undefined;
    return JSON.parse(this.raw.toString("utf8"));
  }
}

const REQUESTS_KEPT = 10_000;
const MODELS = ["scripted-model", "gpt-5", "gpt-5-mini"];

class Endpoint {
  readonly requests: Seen[] = [];
  readonly watchers = new Set<() => void>();
  standing: readonly ScriptStep[] | undefined;
  readonly #options: ModelEndpointOptions;
  readonly #scripts = new ScriptReader();
  readonly #failures = new Map<string, number>();

  constructor(options: ModelEndpointOptions) {
    this.#options = options;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const raw = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
    this.#note(request, response, raw);
    const path = (request.url ?? "").replace(/\?.*$/, "");
    if (!this.#admits(request.headers)) {
      const wire = "anthropic-version" in request.headers ? ANTHROPIC : RESPONSES;
      return sendJson(response, 401, wire.error(401, `incorrect key provided: ${keyOf(request.headers)}`));
    }
    if (request.method === "GET" && path.endsWith("/models")) return sendJson(response, 200, this.#models());
    if (path.endsWith("/count_tokens")) return sendJson(response, 200, { input_tokens: Math.ceil(raw.length / 4) });
    const wire = WIRES.find((one) => path.endsWith(one.path));
    if (request.method !== "POST" || wire === undefined) {
      return sendJson(response, 404, { error: { message: `no such route: ${request.method} ${path}` } });
    }
    await this.#reply(wire, raw, response);
  }

  async #reply(wire: Wire, raw: Buffer, response: ServerResponse): Promise<void> {
    const step = this.#step(wire, raw);
    if (step instanceof Error) return sendJson(response, 400, wire.error(400, step.message));
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    if (step.waitMs !== undefined) await sleep(step.waitMs, undefined, { signal: gone.signal, ref: false });
    if (step.status !== undefined) return sendStatus(response, { wire, step, status: step.status });
    const context = this.#context(raw);
    response.setHeader("x-request-id", "req_scripted");
    for (const [name, value] of Object.entries(step.headers ?? {})) response.setHeader(name, value);
    if (raw.lastIndexOf('"stream":true') < 0) {
      return sendJson(response, 200, wire.document(step, context));
    }
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
    await send(response, wire.frames(step, context), { gapMs: step.gapMs ?? 0, signal: gone.signal });
  }

  #admits(headers: IncomingHttpHeaders): boolean {
    return this.#options.key === undefined || keyOf(headers) === this.#options.key;
  }

  /** One list in the shapes of both vendors. */
  #models(): Record<string, unknown> {
    const data = (this.#options.models ?? MODELS).map((id) => ({
      id,
      object: "model",
      created: 0,
      owned_by: "script",
      type: "model",
      display_name: id,
      created_at: "2026-01-01T00:00:00Z",
    }));
    return { object: "list", data, has_more: false };
  }

  #note(request: IncomingMessage, response: ServerResponse, raw: Buffer): void {
    const seen = new Seen(request, raw);
    this.requests.push(seen);
    const faded = this.requests.at(-1 - (this.#options.bodiesKept ?? 50));
    if (faded !== undefined) faded.raw = undefined;
    if (this.requests.length > REQUESTS_KEPT) this.requests.shift();
    response.on("close", () => {
      if (!response.writableFinished) seen.closedEarlyAt = Date.now();
      this.#changed();
    });
    this.#changed();
  }

  #changed(): void {
    for (const watcher of this.watchers) watcher();
  }

  #context(raw: Buffer): ReplyContext {
    const model = /"model":"([^"]*)"/.exec(raw.toString("latin1", 0, 4096))?.[1] ?? "scripted-model";
    const includeUsage = raw.lastIndexOf('"include_usage":true') >= 0;
    return { model, piece: this.#options.piece ?? 12, bytes: raw.length, includeUsage };
  }

  #step(wire: Wire, raw: Buffer): ScriptStep | Error {
    try {
      const place = this.#place(wire, raw);
      if (place.steps === undefined) return { text: `echo: ${lastUserText(raw)}` };
      const step = stepAt(place.steps, place.turn) ?? { text: "script finished" };
      if (step.fails === undefined) return step;
      const key = `${place.turn} ${place.key}`;
      const failed = this.#failures.get(key) ?? 0;
      if (failed >= step.fails.times) return step;
      this.#failures.set(key, failed + 1);
      return step.fails;
    } catch (error) {
      return error as Error;
    }
  }

  #place(wire: Wire, raw: Buffer): Place {
    // There, the results of tools stand in the user's messages, which the bytes alone do not tell.
    const body = wire === ANTHROPIC ? asScriptBody(readConversation(wire.path, JSON.parse(raw.toString("utf8")))) : raw;
    return this.#scripts.place(body, this.standing);
  }
}

/** The key that a request carries, in either vendor's header. */
export function keyOf(headers: IncomingHttpHeaders): string | undefined {
  const own = headers["x-api-key"];
  return typeof own === "string" ? own : headers.authorization?.replace(/^Bearer /, "");
}

function lastUserText(raw: Buffer): string {
  const body = JSON.parse(raw.toString("utf8")) as { input?: unknown; messages?: unknown };
  const list = body.input ?? body.messages;
  if (typeof list === "string") return list.slice(0, 80);
  const users = (Array.isArray(list) ? list : []).filter((item: { role?: string }) => item.role === "user");
  const content: unknown = users.at(-1)?.content;
  const text = Array.isArray(content) ? content.map((part: { text?: string }) => part.text ?? "").join(" ") : content;
  return String(text ?? "").slice(0, 80);
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

interface StatusAnswer {
  readonly wire: Wire;
  readonly status: number;
  readonly step: ScriptStep;
}

function sendStatus(response: ServerResponse, { wire, status, step }: StatusAnswer): void {
  for (const [name, value] of Object.entries(step.headers ?? {})) response.setHeader(name, value);
  if (typeof step.body === "string") {
    response.writeHead(status, { "content-type": "text/html" }).end(step.body);
    return;
  }
  sendJson(response, status, step.body ?? wire.error(status, step.text ?? "scripted error"));
}

interface Pace {
  readonly gapMs: number;
  readonly signal: AbortSignal;
}

async function send(response: ServerResponse, frames: Generator<Frame>, pace: Pace): Promise<void> {
  let ready = "";
  for (const frame of frames) {
    if (frame === "CUT") {
      response.write(ready, () => response.destroy());
      return;
    }
    if (frame === "STALL") {
      response.write(ready);
      return;
    }
    if (frame === "EOF") break;
    ready += frame;
    if (pace.gapMs === 0) continue;
    response.write(ready);
    ready = "";
    await sleep(pace.gapMs, undefined, { signal: pace.signal, ref: false });
  }
  response.end(ready);
}

/** Starts an endpoint on the loopback. Close it, or take it with `await using`. */
export async function startModelEndpoint(options: ModelEndpointOptions = {}): Promise<ModelEndpoint> {
  const endpoint = new Endpoint(options);
  const server = createServer((request, response) => {
    // What is left to fail here is a client that went away, which `closedEarlyAt` has already told.
    endpoint.answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests: endpoint.requests,
    script: (...steps) => {
      endpoint.standing = steps;
    },
    until: (condition, deadlineMs = 5_000) => until(endpoint.watchers, condition, deadlineMs),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function until(watchers: Set<() => void>, condition: () => boolean, deadlineMs: number): Promise<void> {
  if (condition()) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      watchers.delete(look);
    };
    const look = (): void => {
      if (!condition()) return;
      stop();
      resolve();
    };
    const timer = setTimeout(() => {
      stop();
      reject(new Error(`the condition did not hold within ${deadlineMs} ms: ${condition.toString().slice(0, 200)}`));
    }, deadlineMs);
    watchers.add(look);
  });
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { port: { type: "string", default: "0" }, piece: { type: "string", default: "12" } },
  });
  const endpoint = await startModelEndpoint({ port: Number(values.port), piece: Number(values.piece), bodiesKept: 0 });
  process.stdout.write(`${JSON.stringify({ url: endpoint.url })}\n`);
}
