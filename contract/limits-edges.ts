/** Bounds of what callers hold, and of the disk below: a part of `LIMITS`, by which they are read. No import. Times in ms, sizes in bytes. */
export const EDGE_LIMITS = {
  bodyBytesMax: 8 * 1024 * 1024,
  /** Of all bodies that are gathered in memory, and what one may take to come. */
  bodiesBytesMax: 128 * 1024 * 1024,
  bodyMs: 60_000,
  /** What the head of a request may take to come, and what a sender or reader must move in each `streamDrainMs`. */
  headMs: 20_000,
  slowBytes: 64 * 1024,
  /** Of all answers that are not read yet; and requests of one connection that are not answered yet. */
  answersBytesMax: 128 * 1024 * 1024,
  requestsPerConnection: 8,
  /** Files and archives that are being read at once. */
  downloadsMax: 1_000,
  /** Uploads at once, room for one of unknown length, and what stays free of the disk whatever they bring. */
  uploadsMax: 64,
  uploadStepBytes: 16 * 1024 * 1024,
  diskFloorBytes: 256 * 1024 * 1024,
  /** How much may be written before it is looked at again. */
  diskLookBytes: 4 * 1024 * 1024,
  connectionsMax: 8_000,
  /** A connection on which nothing moves for so long, with an answer that nobody reads, is ended. Longer than any wait. */
  connectionIdleMs: 180_000,
  /** Of the database's file: what stays free for new rows, what is given back in one transaction, and how many of them one sweep makes. */
  freeBytesKept: 4 * 1024 * 1024,
  vacuumSliceBytes: 1024 * 1024,
  vacuumSlices: 64,
  /** A file of an earlier version that is no larger is written anew at a start. */
  vacuumAtOnceBytes: 64 * 1024 * 1024,
  /** Of its write-ahead log, when it is not needed. */
  logBytesKept: 16 * 1024 * 1024,
} as const;
