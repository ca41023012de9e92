/** A small typed client of Perdure's HTTP API. Every failure is a ClientError; what is sent again carries its own id. */
import { setTimeout as delay } from "node:timers/promises";
import type { z } from "zod";
import {
  CloseAnswer,
  type CreateSession,
  InterruptAnswer,
  MessageAccepted,
  type PostMessage,
  SessionCreated,
  SessionDetail,
  SessionList,
} from "../contract/http.ts";
import { LIMITS } from "../contract/limits.ts";
import { ClientError, codeOf, parseJson, refusal, unreachable } from "./client-error.ts";
import { type EventsOptions, type ReceivedEvent, receiveEvents } from "./event-stream.ts";

/** What a client says of a message; the id is required, so that a request sent twice is one message. */
export type NewMessage = z.input<typeof PostMessage> & { readonly id: string };
export type NewSession = z.input<typeof CreateSession> & { readonly id: string };

export interface ListQuery {
  readonly status?: string | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

const RETRY_PAUSE_MS = 150;
/** Codes of requests that never reached the API, or whose answer was lost with its process. */
const LOST = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

export class Client {
  readonly baseUrl: string;

  /** @param baseUrl Such as `http://127.0.0.1:8700`. */
  constructor(baseUrl: string) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
  }

  /** The same id again is the same session. */
  createSession(session: NewSession, signal?: AbortSignal): Promise<SessionCreated> {
    return this.#request(SessionCreated, { method: "POST", path: "/v1/sessions", body: session, signal });
  }

  getSession(sessionId: string, signal?: AbortSignal): Promise<SessionDetail> {
    return this.#request(SessionDetail, { method: "GET", path: sessionPath(sessionId), signal });
  }

  listSessions(query: ListQuery): Promise<SessionList> {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
    return this.#request(SessionList, { method: "GET", path: `/v1/sessions?${search}` });
  }

  /** The same id again is the same message. */
  postMessage(sessionId: string, message: NewMessage, signal?: AbortSignal): Promise<MessageAccepted> {
    const path = `${sessionPath(sessionId)}/messages`;
    return this.#request(MessageAccepted, { method: "POST", path, body: message, signal });
  }

  interrupt(sessionId: string): Promise<InterruptAnswer> {
    return this.#request(InterruptAnswer, { method: "POST", path: `${sessionPath(sessionId)}/interrupt`, body: {} });
  }

  close(sessionId: string): Promise<CloseAnswer> {
    return this.#request(CloseAnswer, { method: "POST", path: `${sessionPath(sessionId)}/close`, body: {} });
  }

  /**
   * The session's events from a point on, each once and in order, whatever happens to the connection.
   * Ends after `session.closed`, or when the signal aborts.
   * @throws ClientError when the API refuses, or could not be reached again for a long time.
   */
  events(sessionId: string, options: EventsOptions): AsyncGenerator<ReceivedEvent> {
    return receiveEvents(this.baseUrl, `${sessionPath(sessionId)}/events`, options);
  }

  async #request<T>(schema: z.ZodType<T>, request: ApiRequest): Promise<T> {
    const response = await this.#send(request);
    const text = await readText(response, this.baseUrl);
    if (!response.ok) throw refusal(response.status, text, this.baseUrl);
    const read = schema.safeParse(parseJson(text));
    if (read.success) return read.data;
    throw new ClientError(
      "foreign",
      `${request.method} ${request.path} at ${this.baseUrl} gave an answer that this version does not understand: ` +
        "is a Perdure of the same version there?",
      { cause: read.error },
    );
  }

  /** A request that finds nobody is sent again for a moment, because an API that was killed is back within it. */
  async #send({ method, path, body, signal }: ApiRequest): Promise<Response> {
    const deadline = Date.now() + LIMITS.clientRetryMs;
    const timeout = AbortSignal.timeout(LIMITS.clientRequestTimeoutMs);
    const init: RequestInit = {
      method,
      headers: { accept: "application/json", ...(body !== undefined && { "content-type": "application/json" }) },
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    };
    for (;;) {
      try {
        return await fetch(this.baseUrl + path, init);
      } catch (error) {
        if (signal?.aborted) throw error;
        const isLost = LOST.has(codeOf(error) ?? "");
        if (!isLost || Date.now() + RETRY_PAUSE_MS > deadline) throw unreachable(this.baseUrl, error);
        await delay(RETRY_PAUSE_MS, undefined, { ...(signal && { signal }) });
      }
    }
  }
}

interface ApiRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

function sessionPath(sessionId: string): string {
  return `/v1/sessions/${encodeURIComponent(sessionId)}`;
}

async function readText(response: Response, baseUrl: string): Promise<string> {
  try {
    return await response.text();
  } catch (error) {
    throw unreachable(baseUrl, error);
  }
}
