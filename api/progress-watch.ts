/**
 * One watch per session and process, however many viewers: it asks the workflow for its progress when the event log says
 * that something may have changed, and tells its viewers when it has.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Progress } from "../contract/session.ts";
import type { EventTail, LiveLog, TailedEvent } from "../store/tail.ts";
import type { Sessions } from "./sessions.ts";

export interface Viewer {
  progress(json: string): void;
  /** Something that is worth a word, but no snapshot. */
  comment(text: string): void;
  /** The session is closed; what came before was the last snapshot. */
  closed(): void;
}

interface Watch {
  readonly viewers: Set<Viewer>;
  readonly ended: AbortController;
  json: string | undefined;
}

/** Fragments of text and output: they come by the hundred, and none of them changes what the query answers. */
const FRAGMENT = /^\{"seq":\d+,"at":\d+,"type":"(block\.|tool\.output)/;
const CLOSED = /^\{"seq":\d+,"at":\d+,"type":"session\.closed"/;
/** After a change the query is asked again so much later: the log is written before the workflow hears of it. */
const ECHOES_MS = [100, 400, 1_500];
const BACKOFF_MS = { min: 250, max: 5_000 };

export class ProgressWatches implements Disposable {
  readonly #sessions: Sessions;
  readonly #tail: EventTail;
  readonly #onError: (error: unknown) => void;
  readonly #watches = new Map<SessionId, Watch>();

  constructor(from: { readonly sessions: Sessions; readonly tail: EventTail }, onError: (error: unknown) => void) {
    this.#sessions = from.sessions;
    this.#tail = from.tail;
    this.#onError = onError;
  }

  /** Adds a viewer of an open session; it gets the newest snapshot at once when there is one. Returns how to leave. */
  watch(sessionId: SessionId, from: { readonly viewer: Viewer; readonly seq: number }): () => void {
    const watch = this.#watches.get(sessionId) ?? this.#begin(sessionId, from.seq);
    watch.viewers.add(from.viewer);
    if (watch.json !== undefined) from.viewer.progress(watch.json);
    return () => {
      watch.viewers.delete(from.viewer);
      if (watch.viewers.size === 0) this.#end(sessionId, watch);
    };
  }

  [Symbol.dispose](): void {
    for (const [sessionId, watch] of this.#watches) this.#end(sessionId, watch);
  }

  #begin(sessionId: SessionId, seq: number): Watch {
    const watch: Watch = { viewers: new Set(), ended: new AbortController(), json: undefined };
    this.#watches.set(sessionId, watch);
    void this.#follow(sessionId, watch, seq)
      .catch(this.#onError)
      .finally(() => {
        this.#end(sessionId, watch);
        for (const viewer of watch.viewers) viewer.closed();
      });
    return watch;
  }

  #end(sessionId: SessionId, watch: Watch): void {
    watch.ended.abort();
    if (this.#watches.get(sessionId) === watch) this.#watches.delete(sessionId);
  }

  async #follow(sessionId: SessionId, watch: Watch, from: number): Promise<void> {
    const { signal } = watch.ended;
    using log = this.#tail.open(sessionId);
    let seq = from;
    let failures = 0;
    let echo = 0;
    while (!signal.aborted) {
      const isAnswered = await this.#ask(sessionId, watch);
      failures = isAnswered ? 0 : failures + 1;
      const waitMs = isAnswered
        ? ECHOES_MS[echo++]
        : Math.min(BACKOFF_MS.min * 2 ** Math.min(failures, 10), BACKOFF_MS.max);
      await pause(LIMITS.progressEveryMs, signal);
      const read = await readOn(log, seq, { waitMs, signal });
      seq = read.seq;
      if (read.saw === "closed") return tell(watch, closedFrom(watch.json));
      if (read.saw === "change") echo = 0;
    }
  }

  /** Asks the workflow, and tells what changed. False when nobody answered. */
  async #ask(sessionId: SessionId, watch: Watch): Promise<boolean> {
    try {
      tell(watch, JSON.stringify(await this.#sessions.progress(sessionId)));
      return true;
    } catch (error) {
      const words = error instanceof Error ? error.message : "the query failed";
      for (const viewer of watch.viewers) viewer.comment(`${words.replaceAll(/\s+/g, " ")}; trying again`);
      return false;
    }
  }
}

function tell(watch: Watch, json: string | undefined): void {
  if (json === undefined || json === watch.json) return;
  watch.json = json;
  for (const viewer of watch.viewers) viewer.progress(json);
}

interface Read {
  readonly seq: number;
  readonly saw: "change" | "closed" | "nothing";
}

/** Reads the log until something in it may have changed the progress, or until the time is up. */
async function readOn(
  log: LiveLog,
  from: number,
  until: { readonly waitMs: number | undefined; readonly signal: AbortSignal },
): Promise<Read> {
  const { waitMs } = until;
  const signal = waitMs === undefined ? until.signal : AbortSignal.any([until.signal, AbortSignal.timeout(waitMs)]);
  let seq = from;
  for (let hasWaited = false; ; hasWaited = true) {
    const events = await log.after(seq);
    seq = events.at(-1)?.seq ?? seq;
    const saw = changeIn(events);
    // Told of more and then found nothing: the session was purged, and the next question will say so.
    if (saw !== "nothing" || signal.aborted || (hasWaited && events.length === 0)) return { seq, saw };
    await log.changed(seq, signal);
  }
}

function changeIn(events: readonly TailedEvent[]): Read["saw"] {
  if (events.some((event) => CLOSED.test(event.json))) return "closed";
  return events.some((event) => !FRAGMENT.test(event.json)) ? "change" : "nothing";
}

/** The last snapshot of a session that the log says is closed: its workflow may not know it yet, or not be there any more. */
function closedFrom(json: string | undefined): string | undefined {
  if (json === undefined) return undefined;
  // Our own JSON of a moment ago.
  const last = JSON.parse(json) as Progress;
  return JSON.stringify(closedProgress(last));
}

export function closedProgress(last: Progress): Progress {
  return { ...last, status: "closed", turn: null, running: [], waitingFor: null, queue: [] };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}
