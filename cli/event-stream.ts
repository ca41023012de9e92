/** A session's events over server-sent events: comes back with Last-Event-ID, so that each event arrives once and in order. */
import { setTimeout as delay } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { z } from "zod";
import { SessionEvent } from "../contract/events.ts";
import { LIMITS } from "../contract/limits.ts";
import { ClientError, parseJson, reasonOf, refusal, unreachable } from "./client-error.ts";

/** An event as it came. */
export interface ReceivedEvent {
  readonly seq: number;
  readonly type: string;
  /** As the server wrote it. */
  readonly json: string;
  /** Undefined when this version does not know the type: a newer server may have more of them. */
  readonly event: SessionEvent | undefined;
}

/** `lost`: the connection is gone and is being made again. */
export type Connection = { readonly state: "open" } | { readonly state: "lost"; readonly reason: string };

export interface EventsOptions {
  /** Only events behind this seq. */
  readonly after: number;
  readonly signal?: AbortSignal;
  readonly onConnection?: (connection: Connection) => void;
  /** Shorter in tests. */
  readonly silenceMs?: number;
  readonly giveUpMs?: number;
}

export interface Source {
  readonly baseUrl: string;
  readonly path: string;
  /** Sent with each connection. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The least of an event that this client relies on. */
const Envelope = z.looseObject({ seq: z.number().int().positive(), type: z.string() });

/** What went wrong with one connection, after which the next may do better. */
class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** A connection's signs of life: an event, a heartbeat, or that it was opened at all. */
type Sign = ReceivedEvent | "beat" | "opened";

export async function* receiveEvents(source: Source, options: EventsOptions): AsyncGenerator<ReceivedEvent> {
  const { signal } = options;
  const patience = new Patience(source.baseUrl, options);
  let seq = options.after;
  while (!signal?.aborted) {
    try {
      for await (const sign of connect(source, seq, options)) {
        if (typeof sign !== "string") {
          if (sign.seq <= seq) continue;
          if (sign.seq !== seq + 1) throw new ConnectionLost(`event ${sign.seq} came after ${seq}`);
          seq = sign.seq;
        }
        patience.live(sign);
        if (typeof sign === "string") continue;
        yield sign;
        if (sign.type === "session.closed") return;
      }
      throw new ConnectionLost("the stream ended");
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof ConnectionLost)) throw error;
      await patience.lost(error);
    }
  }
}

/** How long to wait before the next connection, and when there is none worth trying. */
class Patience {
  readonly #baseUrl: string;
  readonly #options: EventsOptions;
  #pauseMs: number = LIMITS.clientReconnectMs.first;
  #lostAt: number | undefined;
  #hasOpened = false;
  #isTold = false;

  constructor(baseUrl: string, options: EventsOptions) {
    this.#baseUrl = baseUrl;
    this.#options = options;
  }

  live(sign: Sign): void {
    this.#hasOpened = true;
    if (this.#isTold) this.#options.onConnection?.({ state: "open" });
    this.#isTold = false;
    if (sign === "opened") return; // A server that opens streams and drops them must not be hammered.
    this.#pauseMs = LIMITS.clientReconnectMs.first;
    this.#lostAt = undefined;
  }

  /** Resolves when it is time to try again. */
  async lost(error: ConnectionLost): Promise<void> {
    const { signal, giveUpMs = this.#hasOpened ? LIMITS.clientGiveUpMs : LIMITS.clientRetryMs } = this.#options;
    this.#lostAt ??= Date.now();
    if (Date.now() + this.#pauseMs - this.#lostAt > giveUpMs) throw unreachable(this.#baseUrl, error);
    if (!this.#isTold) this.#options.onConnection?.({ state: "lost", reason: error.message });
    this.#isTold = true;
    await delay(this.#pauseMs, undefined, { ...(signal && { signal }) }).catch(() => undefined);
    this.#pauseMs = Math.min(this.#pauseMs * 2, LIMITS.clientReconnectMs.max);
  }
}

/** One connection. Throws ConnectionLost when another one may do better. */
async function* connect(source: Source, after: number, options: EventsOptions): AsyncGenerator<Sign> {
  const left = new AbortController();
  const silenceMs = options.silenceMs ?? LIMITS.clientSilenceMs;
  const silence = setTimeout(() => left.abort(), silenceMs);
  const signal = options.signal ? AbortSignal.any([options.signal, left.signal]) : left.signal;
  try {
    const body = await open(source, after, signal);
    yield "opened";
    const decoder = new TextDecoder();
    let signs: Sign[] = [];
    const parser = createParser({
      maxBufferSize: LIMITS.clientFrameCharactersMax,
      onEvent: ({ data }) => signs.push(received(data, source.baseUrl)),
      onComment: () => signs.push("beat"),
    });
    for await (const bytes of body) {
      silence.refresh();
      parser.feed(decoder.decode(bytes, { stream: true }));
      yield* signs;
      signs = [];
    }
  } catch (error) {
    if (error instanceof ClientError) throw error;
    const reason = left.signal.aborted ? `nothing came for ${silenceMs / 1_000} s` : reasonOf(error);
    throw new ConnectionLost(reason, { cause: error });
  } finally {
    clearTimeout(silence);
    left.abort(); // Frees the socket when the reader leaves early.
  }
}

function received(json: string, baseUrl: string): ReceivedEvent {
  const value = parseJson(json);
  const envelope = Envelope.safeParse(value);
  if (!envelope.success) throw new ClientError("foreign", `${baseUrl} sent an event without seq and type`);
  return { seq: envelope.data.seq, type: envelope.data.type, json, event: SessionEvent.safeParse(value).data };
}

async function open(source: Source, after: number, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const response = await fetch(`${source.baseUrl}${source.path}?after=${after}`, {
    headers: { ...source.headers, accept: "text/event-stream", ...(after > 0 && { "last-event-id": String(after) }) },
    signal,
  });
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") ?? false;
  if (response.ok && isStream && response.body) return response.body;
  const text = await response.text();
  if (response.status >= 500) throw new ConnectionLost(`the API answered ${response.status}`);
  throw refusal(response.status, text, source.baseUrl);
}
