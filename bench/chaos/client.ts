/**
 * A client of one session that does not give up: it repeats each request under the same id until it is answered, comes
 * back to its stream, and calls it a hang only when nothing happens long after the last kill.
 */
import type { MessageMode, SessionEventOf } from "../../contract/events.ts";
import { TURN_ENDS } from "../../contract/events.ts";
import type { MessageAccepted } from "../../contract/http.ts";
import type { EventReader } from "../../test/support/event-reader.ts";
import type { NewSession, World } from "../../test/support/world.ts";
import { type Answer, AnswerError, askPersistently, HangError, jsonOf, type Patience } from "./persistent-request.ts";

/** What the clients know of the disturbance: a wait ends so long after the last of it. */
export interface Weather {
  /** When something was last killed, or came back. */
  lastStormAt: number;
  readonly hangAfterMs: number;
  /** Losses so far: after one, nobody waits any longer for what was promised before it. */
  losses: number;
  /** Those of them in which the store lost something. */
  storeLosses: number;
}

/** Calm, so far. */
export function newWeather(hangAfterMs: number): Weather {
  return { lastStormAt: 0, hangAfterMs, losses: 0, storeLosses: 0 };
}

export interface ClientPlace {
  readonly world: World;
  readonly weather: Weather;
}

/** A request about the client's session. */
export interface SessionRequest {
  readonly method: string;
  /** Behind the session's own. */
  readonly route: string;
  readonly body?: unknown;
  readonly key?: string;
  readonly accepts?: readonly number[];
  readonly signal?: AbortSignal;
}

export class ChaosClient {
  readonly id: string;
  readonly reader: EventReader;
  /** What was wrong on the way. */
  readonly faults: string[] = [];
  /** What it has asked for, whether or not that was answered. */
  readonly asked = { close: false };
  readonly #place: ClientPlace;
  readonly #startedAt = Date.now();

  private constructor(place: ClientPlace, id: string) {
    this.id = id;
    this.#place = place;
    this.reader = place.world.openReader(id);
  }

  /** Makes the session, under the id that the caller gives it. */
  static async open(place: ClientPlace, session: NewSession & { readonly id: string }): Promise<ChaosClient> {
    const url = `${place.world.url}/v1/sessions`;
    await askPersistently(
      { method: "POST", url, headers: place.world.headers, body: session },
      patience(place.weather),
    );
    return new ChaosClient(place, session.id);
  }

  async close(): Promise<void> {
    this.asked.close = true;
    await this.ask({ method: "POST", route: "/close", body: {} });
    await this.until("session.closed", () => this.reader.isClosed);
  }

  /** An answer of the API about this session, however often it takes; undefined when the signal ended that. */
  async ask({ route, signal, ...request }: SessionRequest): Promise<Answer | undefined> {
    const url = `${this.#place.world.url}/v1/sessions/${this.id}${route}`;
    const { headers } = this.#place.world;
    return await askPersistently(
      { ...request, url, headers },
      { ...patience(this.#place.weather), ...(signal && { signal }) },
    );
  }

  async get<T>(route: string): Promise<T> {
    return jsonOf(await this.ask({ method: "GET", route })) as T;
  }

  /** The bytes of an artifact. */
  async download(artifactId: string): Promise<Uint8Array> {
    const answer = await this.ask({ method: "GET", route: `/artifacts/${artifactId}` });
    if (answer?.status !== 200) throw new AnswerError(`artifact ${artifactId} answered ${answer?.status}`);
    return answer.bytes;
  }

  async post(message: { readonly id: string; readonly content: string }, mode: MessageMode): Promise<MessageAccepted> {
    const { id, content } = message;
    const answer = await this.ask({ method: "POST", route: "/messages", body: { id, content, mode } });
    const accepted = jsonOf(answer) as MessageAccepted;
    if (accepted.messageId !== id) throw new AnswerError(`message ${id} was answered as ${accepted.messageId}`);
    return accepted;
  }

  /** Resolves with the start of the message's turn. */
  started(message: { readonly id: string }): Promise<SessionEventOf<"turn.started">> {
    return this.until(`the start of the turn of ${message.id}`, () =>
      this.reader.ofType("turn.started").find((event) => event.messageId === message.id),
    );
  }

  async ended(message: { readonly id: string }): Promise<void> {
    const { turnId } = await this.started(message);
    await this.until(`the end of the turn of ${message.id}`, () =>
      this.reader.events().some((event) => TURN_ENDS.has(event.type) && "turnId" in event && event.turnId === turnId),
    );
  }

  /** Waits for what the look finds in the stream. */
  async until<T>(what: string, look: () => T | undefined | false): Promise<T> {
    const [since, { losses }] = [Date.now(), this.#place.weather];
    const vain = Symbol(what);
    for (;;) {
      const found = await this.reader.until(what, look, 1_000).catch(() => vain);
      if (found !== vain) return found as T;
      if (Date.now() > bound(this.#place.weather, { since, losses })) throw this.#hang(what, since);
    }
  }

  #hang(what: string, since: number): HangError {
    const last = this.reader.arrivals.slice(-3).map((arrival) => arrival.json.slice(0, 300));
    const [waited, age] = [since, this.#startedAt].map((at) => Math.round((Date.now() - at) / 1_000));
    return new HangError(
      `waited ${waited} s for ${what} in a session ${age} s old; its last events: ${last.join(" ")}`,
    );
  }
}

/** When a wait that begins now is over, as the weather is then. */
export function patience(weather: Weather): Patience {
  const [since, { losses }] = [Date.now(), weather];
  return { at: () => bound(weather, { since, losses }) };
}

/** A wait, and how many losses there had been when it began. */
interface Wait {
  readonly since: number;
  readonly losses: number;
}

function bound(weather: Weather, { since, losses }: Wait): number {
  return weather.losses === losses ? Math.max(since, weather.lastStormAt) + weather.hangAfterMs : 0;
}
