/** A client of one session's event stream: comes back with Last-Event-ID until the session is closed, and keeps what it saw. */
import { setTimeout as delay } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import type { EventType, SessionEvent, SessionEventOf } from "../../contract/events.ts";

/** An event as this client got it. */
export interface Arrival {
  readonly event: SessionEvent;
  /** The event's JSON as it came. */
  readonly json: string;
  /** By the clock of `now()`. */
  readonly at: number;
}

export interface EventReaderOptions {
  /** Of the session: `http://…/v1/sessions/<id>`. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Pause before it comes back. */
  readonly reconnectMs?: number;
}

/** Milliseconds since 1970, finer than the system clock tells them. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

export class EventReader implements AsyncDisposable {
  readonly arrivals: Arrival[] = [];
  /** What a stream must never do: a gap, a repeat, an answer that is no stream. */
  readonly faults: string[] = [];
  /** When each connection was open. */
  readonly connections: number[] = [];
  readonly #options: EventReaderOptions;
  readonly #left = new AbortController();
  readonly #watchers = new Set<() => void>();
  readonly #done: Promise<void>;
  #isClosed = false;

  constructor(options: EventReaderOptions) {
    this.#options = options;
    this.#done = this.#run();
  }

  get lastSeq(): number {
    return this.arrivals.at(-1)?.event.seq ?? 0;
  }

  /** `session.closed` has come, and the stream has ended by itself. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  events(): readonly SessionEvent[] {
    return this.arrivals.map((arrival) => arrival.event);
  }

  ofType<Type extends EventType>(type: Type): readonly SessionEventOf<Type>[] {
    return this.events().filter((event): event is SessionEventOf<Type> => event.type === type);
  }

  /** Resolves with what the look finds, as soon as it finds something; it looks after each event and connection. */
  until<T>(what: string, look: () => T | undefined | false, deadlineMs = 30_000): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        this.#watchers.delete(check);
      };
      const check = (): void => {
        const found = look();
        if (found === undefined || found === false) return;
        stop();
        resolve(found);
      };
      const timer = setTimeout(() => {
        stop();
        const last = this.arrivals.slice(-5).map((arrival) => arrival.json.slice(0, 200));
        reject(new Error(`waited ${deadlineMs} ms in vain until ${what}; the last events were:\n${last.join("\n")}`));
      }, deadlineMs);
      this.#watchers.add(check);
      check();
    });
  }

  /** Resolves with the first event of that type that fits, among those that came and those that come. */
  next<Type extends EventType>(
    type: Type,
    fits: (event: SessionEventOf<Type>) => boolean = () => true,
    deadlineMs = 30_000,
  ): Promise<SessionEventOf<Type>> {
    let looked = 0;
    return this.until(
      `${type} comes`,
      () => {
        for (; looked < this.arrivals.length; looked++) {
          const event = this.arrivals[looked]?.event;
          if (event?.type === type && fits(event as SessionEventOf<Type>)) return event as SessionEventOf<Type>;
        }
        return undefined;
      },
      deadlineMs,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#left.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { signal } = this.#left;
    while (!signal.aborted) {
      try {
        await this.#connect(signal);
      } catch (error) {
        // A connection that cannot be made or that breaks is what this reader is for: it comes back.
        if (!(error instanceof TypeError) && !signal.aborted) this.faults.push(`the reader failed: ${String(error)}`);
      }
      if (this.arrivals.at(-1)?.event.type === "session.closed") break;
      await delay(this.#options.reconnectMs ?? 50, undefined, { signal }).catch(() => undefined);
    }
    this.#isClosed = this.arrivals.at(-1)?.event.type === "session.closed";
    this.#look();
  }

  async #connect(signal: AbortSignal): Promise<void> {
    const headers: Record<string, string> = { ...this.#options.headers, accept: "text/event-stream" };
    if (this.lastSeq > 0) headers["last-event-id"] = String(this.lastSeq);
    const response = await fetch(`${this.#options.url}/events`, { headers, signal });
    if (response.status !== 200 || response.body === null) {
      if (response.status <= 500 && response.status !== 429)
        this.faults.push(`the stream answered ${response.status}: ${await response.text()}`);
      return;
    }
    this.connections.push(now());
    this.#look();
    const parser = createParser({ onEvent: (frame) => this.#take(frame.id, frame.data) });
    const decoder = new TextDecoder();
    for await (const bytes of response.body) parser.feed(decoder.decode(bytes, { stream: true }));
  }

  #take(id: string | undefined, json: string): void {
    const at = now();
    const event = JSON.parse(json) as SessionEvent;
    if (String(event.seq) !== id) this.faults.push(`the frame's id is ${id}, its event's seq ${event.seq}`);
    if (event.seq !== this.lastSeq + 1) this.faults.push(`seq ${event.seq} came after ${this.lastSeq}`);
    this.arrivals.push({ event, json, at });
    this.#look();
  }

  #look(): void {
    for (const check of [...this.#watchers]) check();
  }
}
