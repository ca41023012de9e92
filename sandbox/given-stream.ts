/** What a sandbox is given to take in. */
import { Readable } from "node:stream";

/**
 * The giver is rid of it: a stream is heard from here on, because one that fails while nobody listens ends the process, and
 * closed when the work is over, because what was refused is never read to its end.
 */
export async function taking<T>(content: Uint8Array | Readable, work: () => Promise<T>): Promise<T> {
  if (!(content instanceof Readable)) return await work();
  content.on("error", () => undefined);
  try {
    return await work();
  } finally {
    content.destroy();
  }
}
