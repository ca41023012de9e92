/** A stream of Node as a stream of the web. */
import type { Readable } from "node:stream";
import { ReadableStream } from "node:stream/web";

/**
 * Cancelling it destroys the source. Not `Readable.toWeb`, which goes on to enqueue what was read already when its reader has
 * gone, and throws that where nobody can catch it: the process ends (Node 24.21).
 */
export function bytesOf(source: Readable): ReadableStream<Uint8Array> {
  return ReadableStream.from<Uint8Array>(source);
}
