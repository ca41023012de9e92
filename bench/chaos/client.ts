/**
 * A client that plays one session's script and does not give up: it repeats each request under the same id until it is
 * answered, comes back to its stream, and calls it a hang only when nothing happens long after the last kill.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { MessageMode, SessionEventOf } from "../../contract/events.ts";
import { TURN_ENDS } from "../../contract/events.ts";
import type { MessageAccepted } from "../../contract/http.ts";
import type { EventReader } from "../../test/support/event-reader.ts";
import { processesOf } from "../../test/support/stray-processes.ts";
import { type World, waitFor } from "../../test/support/world.ts";
import type { Act, EndlessMessage, ScriptedMessage, SessionScript } from "./script.ts";

/** What the clients know of the disturbance: a wait ends so long after the last of it. */
export interface Weather {
  /** When something was last killed, or came back. */
  lastStormAt: number;
  readonly hangAfterMs: number;
}

/** It waited in vain. */
export class HangError extends Error {
  override readonly name = "HangError";
}

/** The API answered what it must not answer, however the weather is. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

/** What says: not now. A 500 is not among them, it would be a bug. */
const AGAIN: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const REQUEST_TIMEOUT_MS = 15_000;
const REPEAT_MS = 100;
const STOP_MS = 5_000;
const INTERRUPT_AGAIN_MS = 500;

export class ChaosClient {
  readonly script: SessionScript;
  readonly reader: EventReader;
  /** What was wrong while it played. */
  readonly faults: string[] = [];
  readonly #world: World;
  readonly #weather: Weather;
  readonly #startedAt = Date.now();

  private constructor(world: World, script: SessionScript, weather: Weather) {
    this.script = script;
    this.#world = world;
    this.#weather = weather;
    this.reader = world.openReader(script.token);
  }

  /** Makes the session, under the id that its script names. */
  static async open(world: World, script: SessionScript, weather: Weather): Promise<ChaosClient> {
    const made = new AbortController();
    const deadline = { at: () => bound(weather, Date.now()), signal: made.signal };
    await repeatUntil(world, { method: "POST", route: "/v1/sessions", body: { id: script.token } }, deadline);
    return new ChaosClient(world, script, weather);
  }

  /** Plays every act, closes the session and waits for the end of its log. */
  async play(): Promise<void> {
    for (const act of this.script.acts) await this.#playAct(act);
    await this.#request("POST", "/close", {});
    await this.#until("session.closed", () => this.reader.isClosed);
  }

  /** An answer of the API about this session, however often it takes. */
  async get<T>(route: string): Promise<T> {
    return (await this.#request("GET", route)) as T;
  }

  /** The bytes of an artifact. */
  async download(artifactId: string): Promise<Uint8Array> {
    const url = `${this.#world.url}/v1/sessions/${this.script.token}/artifacts/${artifactId}`;
    const response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    if (response.status !== 200) throw new AnswerError(`artifact ${artifactId} answered ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  async #playAct(act: Act): Promise<void> {
    switch (act.type) {
      case "messages":
        for (const message of act.messages) await this.#post(message, "queue");
        for (const message of act.messages) await this.#ended(message);
        return;
      case "interrupt":
        await this.#post(act.message, "queue");
        await this.#interrupt(await this.#printing(act.message));
        await this.#stopped(act.message);
        return;
      case "replace":
        await this.#post(act.message, "queue");
        await this.#printing(act.message);
        await this.#post(act.next, "interrupt");
        await this.#ended(act.message);
        await this.#stopped(act.message);
        await this.#ended(act.next);
        return;
    }
  }

  async #post({ id, content }: ScriptedMessage, mode: MessageMode): Promise<void> {
    const accepted = (await this.#request("POST", "/messages", { id, content, mode })) as MessageAccepted;
    if (accepted.messageId !== id) throw new AnswerError(`message ${id} was answered as ${accepted.messageId}`);
  }

  /** Resolves with the turn's start when its command has printed something. */
  async #printing(message: ScriptedMessage): Promise<SessionEventOf<"turn.started">> {
    const turn = await this.#started(message);
    await this.#until(`output in the turn of ${message.id}`, () => {
      return this.reader.events().some((event) => event.type === "tool.output" && event.turnId === turn.turnId);
    });
    return turn;
  }

  async #interrupt({ turnId, messageId }: SessionEventOf<"turn.started">): Promise<void> {
    const over = new AbortController();
    const repeating = (async () => {
      while (!over.signal.aborted) {
        await this.#request("POST", "/interrupt", { turnId }, over.signal);
        await delay(INTERRUPT_AGAIN_MS, undefined, { signal: over.signal }).catch(() => undefined);
      }
    })();
    try {
      await this.#ended({ id: messageId });
    } finally {
      over.abort();
      await repeating;
    }
  }

  /** A turn that is over has nothing that still runs for it. */
  async #stopped({ mark }: EndlessMessage): Promise<void> {
    const isGone = (): boolean => processesOf(mark).length === 0;
    await waitFor("it is gone", isGone, STOP_MS).catch(() => {
      this.faults.push(`${STOP_MS} ms after its turn was stopped, the command still ran: ${mark}`);
    });
  }

  #started(message: { readonly id: string }): Promise<SessionEventOf<"turn.started">> {
    return this.#until(`the start of the turn of ${message.id}`, () =>
      this.reader.ofType("turn.started").find((event) => event.messageId === message.id),
    );
  }

  async #ended(message: { readonly id: string }): Promise<void> {
    const { turnId } = await this.#started(message);
    await this.#until(`the end of the turn of ${message.id}`, () =>
      this.reader.events().some((event) => TURN_ENDS.has(event.type) && "turnId" in event && event.turnId === turnId),
    );
  }

  async #until<T>(what: string, look: () => T | undefined | false): Promise<T> {
    const since = Date.now();
    const vain = Symbol(what);
    for (;;) {
      const found = await this.reader.until(what, look, 1_000).catch(() => vain);
      if (found !== vain) return found as T;
      if (Date.now() > bound(this.#weather, since)) {
        const last = this.reader.arrivals.slice(-3).map((arrival) => arrival.json.slice(0, 300));
        const [waited, age] = [since, this.#startedAt].map((at) => Math.round((Date.now() - at) / 1_000));
        throw new HangError(
          `waited ${waited} s for ${what} in a session ${age} s old; its last events: ${last.join(" ")}`,
        );
      }
    }
  }

  #request(method: string, route: string, body?: unknown, signal = new AbortController().signal): Promise<unknown> {
    const since = Date.now();
    const request = { method, route: `/v1/sessions/${this.script.token}${route}`, body };
    return repeatUntil(this.#world, request, { at: () => bound(this.#weather, since), signal });
  }
}

/** When a wait that began at `since` is over, as the weather is now. */
function bound(weather: Weather, since: number): number {
  return Math.max(since, weather.lastStormAt) + weather.hangAfterMs;
}

interface Request {
  readonly method: string;
  readonly route: string;
  readonly body?: unknown;
}

interface Deadline {
  at(): number;
  /** Ends the repeating without an answer. */
  readonly signal: AbortSignal;
}

/** Sends the request until it is answered by other than a failure of the server, which a client may meet at any time. */
async function repeatUntil(world: World, request: Request, deadline: Deadline): Promise<unknown> {
  const { method, route, body } = request;
  let last = "nothing";
  while (!deadline.signal.aborted) {
    try {
      const response = await fetch(`${world.url}${route}`, {
        method,
        signal: AbortSignal.any([deadline.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
        ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      });
      const text = await response.text();
      if (response.ok) return JSON.parse(text);
      last = `${response.status} ${text.slice(0, 500)}`;
      if (!AGAIN.has(response.status)) throw new AnswerError(`${method} ${route} was answered ${last}`);
    } catch (error) {
      if (error instanceof AnswerError) throw error;
      last = error instanceof Error ? `${error.message} ${String(error.cause ?? "")}` : String(error);
    }
    if (Date.now() > deadline.at()) throw new HangError(`${method} ${route} was never answered; the last try: ${last}`);
    await delay(REPEAT_MS, undefined, { signal: deadline.signal }).catch(() => undefined);
  }
  return undefined;
}
