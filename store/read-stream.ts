/** A file of the store as a stream. */
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";

/**
 * Opened before it is given, so that a missing file is an error of this call and not of the stream; and heard, because a stream
 * that fails while nobody listens ends the process. Undefined: there is no such file.
 */
export async function openReadStream(
  file: string,
  range?: { readonly start: number; readonly end: number },
): Promise<Readable | undefined> {
  const handle = await open(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  return handle?.createReadStream(range).on("error", () => undefined);
}
