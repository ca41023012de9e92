/** A small typed client of Perdure's HTTP API. Every failure is a ClientError; what is sent again carries its own id. */
import { setTimeout as delay } from "node:timers/promises";
import type { z } from "zod";
import { BackendList } from "../contract/backends.ts";
import {
  AgentList,
  CloseAnswer,
  type CreateSession,
  EventList,
  InterruptAnswer,
  MessageAccepted,
  MessageList,
  type PostMessage,
  type QueuedMessage,
  SandboxList,
  SessionCreated,
  SessionDetail,
  SessionList,
  SessionUpdated,
  StoredAgent,
  type UpdateSession,
} from "../contract/http.ts";
import { LIMITS } from "../contract/limits.ts";
import {
  type AnswerQuestion,
  AnswerTaken,
  ApprovalList,
  type DecideApproval,
  DecisionTaken,
  GrantList,
} from "../contract/waits.ts";
import { ClientError, codeOf, parseJson, refusal, unreachable } from "./client-error.ts";
import { type EventsOptions, type ReceivedEvent, receiveEvents } from "./event-stream.ts";

/** What a client says of a message; the id is required, so that a request sent twice is one message. */
export type NewMessage = z.input<typeof PostMessage> & { readonly id: string };
export type NewSession = z.input<typeof CreateSession> & { readonly id: string };

/** One call that waits for a person. */
export interface WaitingCall {
  readonly sessionId: string;
  readonly callId: string;
}

/** A request with a key is the same request however often it is sent. */
export interface Sending {
  readonly key?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ListQuery {
  readonly status?: string | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

export interface ApprovalQuery extends ListQuery {
  readonly sessionId?: string | undefined;
}

export interface GrantQuery extends Omit<ListQuery, "status"> {
  readonly scope?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly tool?: string | undefined;
  readonly revoked?: boolean | undefined;
}

export interface MessagesQuery {
  readonly state?: QueuedMessage["state"] | undefined;
  readonly cursor?: string | undefined;
}

const RETRY_PAUSE_MS = 150;
/** Codes of requests that never reached the API, or whose answer was lost with its process. */
const LOST = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

export class Client {
  readonly baseUrl: string;
  /** Who we are, for a request that goes past this client. */
  readonly headers: Readonly<Record<string, string>>;

  /** @param baseUrl Such as `http://127.0.0.1:8700`. */
  constructor(baseUrl: string, token?: string) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
    this.headers = bearer(token);
  }

  /** The same id again is the same session. */
  createSession(session: NewSession, signal?: AbortSignal): Promise<SessionCreated> {
    return this.#request(SessionCreated, { method: "POST", path: "/v1/sessions", body: session, signal });
  }

  getSession(sessionId: string, signal?: AbortSignal): Promise<SessionDetail> {
    return this.#request(SessionDetail, { method: "GET", path: sessionPath(sessionId), signal });
  }

  listSessions(query: ListQuery): Promise<SessionList> {
    return this.#request(SessionList, { method: "GET", path: `/v1/sessions?${searchOf(query)}` });
  }

  /** The same id again is the same message. */
  postMessage(sessionId: string, message: NewMessage, signal?: AbortSignal): Promise<MessageAccepted> {
    const path = `${sessionPath(sessionId)}/messages`;
    return this.#request(MessageAccepted, { method: "POST", path, body: message, signal });
  }

  /** What is given changes, at once or at the end of the turn that runs. */
  updateSession(sessionId: string, changes: z.input<typeof UpdateSession>): Promise<SessionUpdated> {
    return this.#request(SessionUpdated, { method: "PATCH", path: sessionPath(sessionId), body: changes });
  }

  /** Messages of a session, oldest first. */
  listMessages(sessionId: string, query: MessagesQuery): Promise<MessageList> {
    return this.#request(MessageList, { method: "GET", path: `${sessionPath(sessionId)}/messages?${searchOf(query)}` });
  }

  /** Takes a message back whose turn has not begun. */
  async removeMessage(sessionId: string, messageId: string): Promise<void> {
    await this.#delete(`${sessionPath(sessionId)}/messages/${encodeURIComponent(messageId)}`);
  }

  listBackends(): Promise<BackendList> {
    return this.#request(BackendList, { method: "GET", path: "/v1/backends" });
  }

  /** What the running workers say of their sandbox providers. */
  listSandboxes(): Promise<SandboxList> {
    return this.#request(SandboxList, { method: "GET", path: "/v1/sandboxes" });
  }

  /** The newest version of each agent. */
  listAgents(query: ListQuery): Promise<AgentList> {
    return this.#request(AgentList, { method: "GET", path: `/v1/agents?${searchOf(query)}` });
  }

  listAgentVersions(agentId: string, query: ListQuery): Promise<AgentList> {
    return this.#request(AgentList, { method: "GET", path: `${agentPath(agentId)}/versions?${searchOf(query)}` });
  }

  getAgent(agentId: string, version?: number): Promise<StoredAgent> {
    return this.#request(StoredAgent, { method: "GET", path: `${agentPath(agentId)}?${searchOf({ version })}` });
  }

  /** The same content again is the same agent; other content under the id is refused. */
  createAgent(agent: Readonly<Record<string, unknown>>): Promise<StoredAgent> {
    return this.#request(StoredAgent, { method: "POST", path: "/v1/agents", body: agent });
  }

  /** A new version, unless the newest one is so already. */
  putAgent(agentId: string, agent: Readonly<Record<string, unknown>>): Promise<StoredAgent> {
    return this.#request(StoredAgent, { method: "PUT", path: agentPath(agentId), body: agent });
  }

  async deleteAgent(agentId: string): Promise<void> {
    await this.#delete(agentPath(agentId));
  }

  /** Of all sessions or of one; of pending ones the oldest comes first. */
  listApprovals(query: ApprovalQuery): Promise<ApprovalList> {
    return this.#request(ApprovalList, { method: "GET", path: `/v1/approvals?${searchOf(query)}` });
  }

  listGrants(query: GrantQuery): Promise<GrantList> {
    return this.#request(GrantList, { method: "GET", path: `/v1/grants?${searchOf(query)}` });
  }

  async revokeGrant(grantId: string): Promise<void> {
    await this.#delete(`/v1/grants/${encodeURIComponent(grantId)}`);
  }

  /** The first decision stands; a second one is refused with it. */
  decideApproval(
    call: WaitingCall,
    decision: z.input<typeof DecideApproval>,
    sending: Sending = {},
  ): Promise<DecisionTaken> {
    const path = `${sessionPath(call.sessionId)}/approvals/${encodeURIComponent(call.callId)}`;
    return this.#request(DecisionTaken, { method: "POST", path, body: decision, ...sending });
  }

  answerQuestion(call: WaitingCall, answer: AnswerQuestion, sending: Sending = {}): Promise<AnswerTaken> {
    const path = `${sessionPath(call.sessionId)}/answers/${encodeURIComponent(call.callId)}`;
    return this.#request(AnswerTaken, { method: "POST", path, body: answer, ...sending });
  }

  /** One page of the log. */
  getEvents(sessionId: string, query: { readonly after: number; readonly limit: number }): Promise<EventList> {
    return this.#request(EventList, { method: "GET", path: `${sessionPath(sessionId)}/events?${searchOf(query)}` });
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
    const source = { baseUrl: this.baseUrl, path: `${sessionPath(sessionId)}/events`, headers: this.headers };
    return receiveEvents(source, options);
  }

  async #delete(path: string): Promise<void> {
    const response = await this.#send({ method: "DELETE", path });
    const text = await readText(response, this.baseUrl);
    if (!response.ok) throw refusal(response.status, text, this.baseUrl);
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
  async #send({ method, path, body, key, signal }: ApiRequest): Promise<Response> {
    const deadline = Date.now() + LIMITS.clientRetryMs;
    const timeout = AbortSignal.timeout(LIMITS.clientRequestTimeoutMs);
    const init: RequestInit = {
      method,
      headers: {
        accept: "application/json",
        ...this.headers,
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(key !== undefined && { "idempotency-key": key }),
      },
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

/** The header that a token is sent in; none without one. */
export function bearer(token: string | undefined): Readonly<Record<string, string>> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly key?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

function searchOf(query: object): URLSearchParams {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  return search;
}

function sessionPath(sessionId: string): string {
  return `/v1/sessions/${encodeURIComponent(sessionId)}`;
}

function agentPath(agentId: string): string {
  return `/v1/agents/${encodeURIComponent(agentId)}`;
}

async function readText(response: Response, baseUrl: string): Promise<string> {
  try {
    return await response.text();
  } catch (error) {
    throw unreachable(baseUrl, error);
  }
}
