/** How long this server waits for callers who send or read slowly, and how much of each thing there is for all of them. */
import { LIMITS } from "../contract/limits.ts";

export interface EdgeBounds {
  /** For all callers together. */
  readonly connections: number;
  readonly streams: number;
  readonly sockets: number;
  readonly downloads: number;
  readonly uploads: number;
  readonly bodiesBytes: number;
  readonly answersBytes: number;
  /** What a request's head, and its body in memory, may take to come. */
  readonly headMs: number;
  readonly bodyMs: number;
  /** A connection on which nothing moves, and an answer that is not read to its end. */
  readonly idleMs: number;
  /** In so much time a slow sender or reader moves so much, or it is ended. */
  readonly slowMs: number;
  readonly slowBytes: number;
}

export const EDGE_BOUNDS: EdgeBounds = {
  connections: LIMITS.connectionsMax,
  streams: LIMITS.streamsPerProcess,
  sockets: LIMITS.terminalSocketsMax,
  downloads: LIMITS.downloadsMax,
  uploads: LIMITS.uploadsMax,
  bodiesBytes: LIMITS.bodiesBytesMax,
  answersBytes: LIMITS.answersBytesMax,
  headMs: LIMITS.headMs,
  bodyMs: LIMITS.bodyMs,
  idleMs: LIMITS.connectionIdleMs,
  slowMs: LIMITS.streamDrainMs,
  slowBytes: LIMITS.slowBytes,
};
