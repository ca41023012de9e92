/** A tiny Perdure API for tests of its clients: real HTTP and server-sent events, a log that the test writes, and faults on demand. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Agent } from "../../contract/agents.ts";
import { PROBLEMS, type Problem, type ProblemCode } from "../../contract/errors.ts";
import type { Fact } from "../../contract/events.ts";
import type { QueuedMessage } from "../../contract/http.ts";
import type { Progress, Session } from "../../contract/session.ts";

/** What one event stream does, by the order of the connections. */
export type StreamFault =
  /** The socket is destroyed after so many events, in the middle of the next one. */
  | { readonly cutAfter: number }
  /** The stream ends cleanly after so many events. */
  | { readonly endAfter: number }
  /** Headers, and then nothing. */
  | { readonly silent: true }
  /** So many heartbeats, 20 ms apart, before the first event. */
  | { readonly beats: number }
  | { readonly status: number }
  /** Answers from this seq on, whatever was asked for. */
  | { readonly from: number };

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly lastEventId: string | undefined;
  /** Its Idempotency-Key. */
  readonly key: string | undefined;
  readonly body: unknown;
}

/** A decision, an answer or an interruption. */
export interface SeenPost {
  readonly action: string;
  readonly callId: string;
  readonly body: unknown;
}

interface Reader {
  sent: number;
  readonly response: ServerResponse;
  readonly fault: StreamFault | undefined;
  count: number;
}

const BEAT_MS = 20;

export class FakeApi implements AsyncDisposable {
  readonly requests: SeenRequest[] = [];
  /** One for each stream, in their order; then they all behave. */
  readonly streamFaults: StreamFault[] = [];
  /** The next answers to requests that are no streams: a problem, raw text with a status, or a lost connection. */
  readonly answers: (Problem | { readonly status: number; readonly text: string } | "reset")[] = [];
  /** Written to the log when a message comes. */
  reply: (message: { readonly messageId: string; readonly turnId: string }) => readonly object[] = () => [];
  sessions: Session[] = [];
  /** What the workflow says of the session. */
  progress: Progress | null = null;
  /** The messages that wait. */
  messages: readonly QueuedMessage[] = [];
  /** Written to the log when an approval, an answer or an interruption comes. */
  onPost: (posted: SeenPost) => readonly object[] = () => [];
  /** The log, as JSON texts: the test may write what no real one would. */
  readonly #log: string[] = [];
  readonly #readers = new Set<Reader>();
  #server = createServer();
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get streams(): readonly SeenRequest[] {
    return this.requests.filter(({ path }) => path.includes("/events"));
  }

  async start(): Promise<void> {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, "127.0.0.1", resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** As a killed process: every connection is gone, and nobody listens on the port. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Adds facts to the log, with the next seqs; readers get them at once. */
  add(...facts: readonly (Fact | object)[]): void {
    for (const fact of facts) this.addRaw(JSON.stringify({ seq: this.#log.length + 1, at: Date.now(), ...fact }));
  }

  addRaw(json: string): void {
    this.#log.push(json);
    for (const reader of this.#readers) this.#feed(reader);
  }

  problem(code: ProblemCode, detail: string, errors?: Problem["errors"]): void {
    this.answers.push({ ...aProblem(code, detail), ...(errors && { errors }) });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString("utf8");
    const seen: SeenRequest = {
      method: request.method ?? "",
      path: request.url ?? "",
      lastEventId: request.headers["last-event-id"] as string | undefined,
      key: request.headers["idempotency-key"] as string | undefined,
      body: text === "" ? undefined : JSON.parse(text),
    };
    this.requests.push(seen);
    if (seen.path.includes("/events") && request.headers.accept === "text/event-stream") this.#stream(seen, response);
    else this.#answer(seen, response);
  }

  #stream(seen: SeenRequest, response: ServerResponse): void {
    const fault = this.streamFaults.shift();
    const after = new URL(seen.path, this.url).searchParams.get("after");
    if (fault && "status" in fault) {
      const problem = aProblem(fault.status === 404 ? "SESSION_NOT_FOUND" : "INTERNAL", "there is no such session");
      response.writeHead(fault.status, { "content-type": "application/problem+json" }).end(JSON.stringify(problem));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("retry: 250\n\n");
    if (fault && "silent" in fault) return;
    const sent = fault && "from" in fault ? fault.from - 1 : Number(seen.lastEventId ?? after ?? 0);
    const reader: Reader = { sent, response, fault, count: 0 };
    const begin = (): void => {
      this.#readers.add(reader);
      this.#feed(reader);
    };
    response.on("close", () => this.#readers.delete(reader));
    if (fault && "beats" in fault) beat(response, fault.beats, begin);
    else begin();
  }

  #feed(reader: Reader): void {
    const { response, fault } = reader;
    for (let json = this.#log[reader.sent]; json !== undefined; json = this.#log[reader.sent]) {
      const frame = `id: ${reader.sent + 1}\ndata: ${json}\n\n`;
      if (fault && "cutAfter" in fault && reader.count >= fault.cutAfter) {
        response.write(frame.slice(0, frame.length / 2), () => response.destroy());
        this.#readers.delete(reader);
        return;
      }
      response.write(frame);
      reader.sent++;
      reader.count++;
      const isLast =
        json.includes('"session.closed"') || (fault && "endAfter" in fault && reader.count >= fault.endAfter);
      if (!isLast) continue;
      response.end();
      this.#readers.delete(reader);
      return;
    }
  }

  #answer(seen: SeenRequest, response: ServerResponse): void {
    const answer = this.answers.shift();
    if (answer === "reset") {
      response.destroy();
      return;
    }
    if (answer && "text" in answer) {
      response.writeHead(answer.status, { "content-type": "text/html" }).end(answer.text);
      return;
    }
    if (answer) {
      response.writeHead(answer.status, { "content-type": "application/problem+json" }).end(JSON.stringify(answer));
      return;
    }
    const [status, body] = this.#body(seen);
    response.writeHead(status, { "content-type": "application/json" }).end(status === 204 ? "" : JSON.stringify(body));
  }

  #body({ method, path, body }: SeenRequest): readonly [number, unknown] {
    const { pathname, searchParams } = new URL(path, this.url);
    const [, , , id = "", action, callId = ""] = pathname.split("/");
    if (method === "DELETE") return [204, null];
    if (method === "PATCH") return [200, { ...aSession(id, this.#log.length), applied: true }];
    if (method === "GET" && action === "events") return [200, this.#eventPage(searchParams)];
    if (method === "GET" && action === "messages")
      return [200, { messages: this.#messagesIn(searchParams.get("state")), next: null }];
    if (method === "GET" && id !== "") return [200, { ...aSession(id, this.#log.length), progress: this.progress }];
    if (method === "GET") return [200, this.#page(searchParams)];
    if (action === "approvals" || action === "answers" || action === "interrupt")
      this.add(...this.onPost({ action, callId, body }));
    if (action === "approvals") return [200, { callId, scope: "once", ...(body as object), by: "person", at: 1 }];
    if (action === "answers") return [200, { callId, answer: "", ...(body as object), by: "person", at: 1 }];
    if (action === "interrupt") return [202, { interrupted: false, message: "nothing ran, so nothing was stopped" }];
    if (action === "close") return [202, { closed: false, message: "the session is being closed" }];
    if (action === "messages") return [202, this.#take((body as { id: string }).id)];
    const { id: sessionId, message } = body as { id: string; message?: { id: string } };
    if (!message) return [201, aSession(sessionId)];
    return [201, { ...aSession(sessionId, 1), message: this.#take(message.id) }];
  }

  #take(messageId: string): object {
    const taken = { messageId, turnId: `turn_${messageId}`, position: 0 };
    this.add(...this.reply(taken));
    return taken;
  }

  #messagesIn(state: string | null): readonly QueuedMessage[] {
    return this.messages.filter((message) => state === null || message.state === state);
  }

  #eventPage(query: URLSearchParams): object {
    const after = Number(query.get("after"));
    const events = this.#log.slice(after, after + Number(query.get("limit"))).map((json) => JSON.parse(json));
    return { events, next: after + events.length };
  }

  #page(query: URLSearchParams): object {
    const status = query.get("status");
    const from = Number(query.get("cursor") ?? 0);
    const to = from + Number(query.get("limit"));
    const fitting = this.sessions.filter((session) => status === null || session.status === status);
    return { sessions: fitting.slice(from, to), next: fitting.length > to ? String(to) : null };
  }
}

function beat(response: ServerResponse, beats: number, then: () => void): void {
  let left = beats;
  const timer = setInterval(() => {
    if (left-- > 0) {
      response.write(": beat\n\n");
    } else {
      clearInterval(timer);
      then();
    }
  }, BEAT_MS);
  response.on("close", () => clearInterval(timer));
}

export function aSession(id: string, lastSeq = 0): Session {
  const agent = Agent.parse({});
  const at = Date.now();
  return {
    id,
    status: "idle",
    title: null,
    agent,
    agentRef: null,
    clientTools: [],
    metadata: {},
    createdAt: at,
    updatedAt: at,
    closedAt: null,
    lastSeq,
  };
}

function aProblem(code: ProblemCode, detail: string): Problem {
  const { status, title, retryable } = PROBLEMS[code];
  return { type: "about:blank", title, status, detail, code, retryable };
}

export async function startFakeApi(): Promise<FakeApi> {
  const api = new FakeApi();
  await api.start();
  return api;
}

/** The facts of a turn that says something, as a real log has them. */
export function aTurn(ids: { readonly messageId: string; readonly turnId: string }, text: string): readonly object[] {
  const { messageId, turnId } = ids;
  const inStep = { turnId, step: 1 };
  const usage = { inputTokens: 1_200, outputTokens: 30, cachedTokens: 0, reasoningTokens: 0 };
  return [
    { type: "message.received", messageId, turnId, mode: "queue", content: "hello" },
    { type: "turn.started", turnId, messageId },
    { type: "step.started", ...inStep },
    { type: "block.started", ...inStep, index: 0, block: { type: "text" } },
    { type: "block.delta", ...inStep, index: 0, text },
    { type: "block.completed", ...inStep, index: 0, block: { type: "text", text } },
    { type: "step.completed", ...inStep, model: "m", usage },
    { type: "turn.completed", turnId, usage, steps: 1, durationMs: 5, output: text },
  ];
}
