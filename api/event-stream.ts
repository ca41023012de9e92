/** One open server-sent event stream: its headers, its frames, its heartbeat, and its patience with a slow reader. */
import { once } from "node:events";
import type { Request, Response } from "express";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { CallerShares, callerOf } from "./caller-shares.ts";
import type { EdgeBounds } from "./edge-bounds.ts";
import type { Metrics, StreamKind } from "./metrics.ts";
import type { Reader, UnreadBytes } from "./unread.ts";

export interface EventStream {
  /** Aborts when the reader has left, was too slow, or the server drains. Writing after that does nothing. */
  readonly signal: AbortSignal;
  /**
   * Writes frames. Resolves at once while the reader keeps up; else when it has read what was written, so that whoever
   * awaits this holds nothing for it meanwhile.
   */
  write(frames: string | Uint8Array): Promise<void>;
  /** It has so much unread that its reader should read first. Whoever has more to write lets go of it, and waits for `ready`. */
  readonly isBehind: boolean;
  ready(): Promise<void>;
  comment(text: string): Promise<void>;
  /** Ends it cleanly. */
  end(): void;
}

interface Open extends EventStream, Reader {
  beat(): void;
  drain(): void;
}

/** All streams of a process: how many there may be, one heartbeat for them, and their common end. */
export class EventStreams implements Disposable {
  readonly #metrics: Metrics;
  readonly #unread: UnreadBytes;
  readonly #bounds: EdgeBounds;
  readonly #shares: CallerShares;
  readonly #open = new Set<Open>();
  readonly #timer: NodeJS.Timeout;
  readonly #drain = new AbortController();

  constructor(metrics: Metrics, unread: UnreadBytes, bounds: EdgeBounds) {
    this.#metrics = metrics;
    this.#unread = unread;
    this.#bounds = bounds;
    this.#shares = new CallerShares(bounds.streams);
    this.#timer = setInterval(() => {
      for (const stream of this.#open) stream.beat();
    }, LIMITS.heartbeatSseMs);
    this.#timer.unref();
  }

  /** Aborts when the process goes down: for whoever lets a client wait without a stream. */
  get draining(): AbortSignal {
    return this.#drain.signal;
  }

  /** Begins a stream on a response: from here on it can only end, not fail. Throws TOO_MANY_STREAMS. */
  open(request: Request, response: Response, kind: StreamKind): EventStream {
    if (this.#drain.signal.aborted) throw new ProblemError("UNAVAILABLE", "this server is going down; try again");
    const caller = callerOf(request.socket);
    if (!this.#shares.take(caller, 1)) {
      throw new ProblemError(
        "TOO_MANY_STREAMS",
        `${this.#open.size} streams are open, the most this process serves, or your share of them; try again, or page`,
      );
    }
    const filled = (): void => this.#unread.filled();
    const stream = openStream(response, { metrics: this.#metrics, filled, drainMs: this.#bounds.slowMs });
    this.#open.add(stream);
    this.#unread.add(stream);
    this.#metrics.streamOpened(kind);
    response.once("close", () => {
      this.#shares.giveBack(caller, 1);
      this.#open.delete(stream);
      this.#unread.remove(stream);
      this.#metrics.streamClosed(kind);
    });
    return stream;
  }

  /** Ends every stream in words, and opens no more: their clients come back to the next process. */
  drain(): void {
    this.#drain.abort();
    for (const stream of this.#open) stream.drain();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.drain();
  }
}

export const STREAM_TYPE = "text/event-stream";

interface StreamHooks {
  readonly metrics: Metrics;
  /** It has more unread than before. */
  filled(): void;
  readonly drainMs: number;
}

function openStream(response: Response, { metrics, filled, drainMs }: StreamHooks): Open {
  const ended = new AbortController();
  response.once("close", () => ended.abort());
  response.on("error", () => ended.abort());
  response.setHeader("Content-Type", STREAM_TYPE); // Not set(), which would add a charset.
  response.status(200).set({
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
  });
  response.flushHeaders();
  response.write(`retry: ${LIMITS.sseRetryMs}\n\n`);
  const { signal } = ended;
  const end = (last?: string): void => {
    if (signal.aborted) return;
    ended.abort();
    response.end(last);
  };
  const isBehind = (): boolean => !signal.aborted && response.writableLength > LIMITS.streamAheadBytes;
  const drop = (): void => {
    if (signal.aborted) return;
    metrics.slowReaderDropped();
    response.destroy();
  };
  const ready = async (): Promise<void> => {
    if (!isBehind()) return;
    await drained(response, signal, drainMs);
    if (isBehind()) drop();
  };
  const write = async (frames: string | Uint8Array): Promise<void> => {
    if (signal.aborted) return;
    response.write(frames);
    if (!isBehind()) return;
    filled();
    await ready();
  };
  return {
    signal,
    write,
    get isBehind() {
      return isBehind();
    },
    ready,
    get unread() {
      return signal.aborted ? 0 : response.writableLength;
    },
    drop,
    comment: (text) => write(`: ${text}\n\n`),
    beat: () => {
      // A reader that has not yet read what it has needs no sign of life.
      if (!signal.aborted && response.writableLength === 0) response.write(": beat\n\n");
    },
    drain: () => end(": this server is going down, come back\n\n"),
    end: () => end(),
  };
}

/** Resolves when the reader has taken all that was written, has left, or has had its time. */
async function drained(response: Response, signal: AbortSignal, drainMs: number): Promise<void> {
  const deadline = AbortSignal.timeout(drainMs);
  await once(response, "drain", { signal: AbortSignal.any([signal, deadline]) }).catch(() => undefined);
}
