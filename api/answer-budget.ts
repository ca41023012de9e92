/**
 * Answers that are not read: what they hold of this process, all together and of one caller, and the end of those whose reader
 * takes too little. Streams of events have their own rules; this is of pages, listings and bytes.
 */
import type { Socket } from "node:net";
import type { Request, RequestHandler, Response } from "express";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { CallerShares, callerOf } from "./caller-shares.ts";
import { EDGE_BOUNDS, type EdgeBounds } from "./edge-bounds.ts";
import type { Metrics } from "./metrics.ts";
import { watchPace } from "./pace.ts";

export class AnswerBudget {
  readonly #metrics: Metrics;
  readonly #bounds: EdgeBounds;
  readonly #memory: CallerShares;
  readonly #downloads: CallerShares;
  readonly #open = new WeakMap<Socket, number>();

  constructor(metrics: Metrics, bounds: EdgeBounds = EDGE_BOUNDS) {
    this.#metrics = metrics;
    this.#bounds = bounds;
    this.#memory = new CallerShares(bounds.answersBytes);
    this.#downloads = new CallerShares(bounds.downloads);
  }

  /** Bytes of answers that are held now. */
  get held(): number {
    return this.#memory.taken;
  }

  /** Middleware. Requests that are sent without waiting for the answers before them are all worked at, so there are few. */
  handler(): RequestHandler {
    return (request, response, next) => {
      const { socket } = request;
      const open = (this.#open.get(socket) ?? 0) + 1;
      this.#open.set(socket, open);
      response.once("close", () => this.#open.set(socket, (this.#open.get(socket) ?? 1) - 1));
      if (open <= LIMITS.requestsPerConnection) return next();
      response.set("Connection", "close");
      next(overloaded(`${open} requests are open on this connection`));
    };
  }

  /** Counts an answer that is about to be sent, until it is read. Throws OVERLOADED when it would be too much. */
  hold(request: Request, response: Response, bytes: number): void {
    if (bytes <= LIMITS.streamAheadBytes) return; // There are not more of them than connections.
    const caller = callerOf(request.socket);
    if (!this.#memory.take(caller, bytes)) throw overloaded("answers are not read yet");
    const late = setTimeout(() => this.#drop(response), this.#bounds.idleMs).unref();
    endOf(response, () => {
      clearTimeout(late);
      this.#memory.giveBack(caller, bytes);
    });
  }

  /** Counts an answer whose bytes are read from the disk as they are taken, and ends it when they are taken too slowly. Throws OVERLOADED. */
  stream(request: Request, response: Response): void {
    const { socket } = request;
    const caller = callerOf(socket);
    if (!this.#downloads.take(caller, 1)) throw overloaded(`${this.#downloads.taken} files are being read`);
    const stop = watchPace(
      () => socket.bytesWritten,
      this.#bounds,
      () => this.#drop(response),
    );
    endOf(response, () => {
      stop();
      this.#downloads.giveBack(caller, 1);
    });
  }

  #drop(response: Response): void {
    this.#metrics.slowReaderDropped();
    response.destroy();
  }
}

/** The system has all of it, or nobody is there any more: what comes first, once. */
function endOf(response: Response, work: () => void): void {
  const end = (): void => {
    response.off("finish", end);
    response.off("close", end);
    work();
  };
  response.once("finish", end);
  response.once("close", end);
}

function overloaded(what: string): ProblemError {
  return new ProblemError(
    "OVERLOADED",
    `${what}, the most that this process holds at once, or your share of it; read them, and try again`,
  );
}
