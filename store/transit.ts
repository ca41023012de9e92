/**
 * Bytes on their way between the API and a worker: each a file of its own under a name that is used once, so that whoever is
 * done with one removes it. What a killed process leaves is removed later. Nothing here outlives its request.
 */
import { createHash, randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { LIMITS } from "../contract/limits.ts";
import { DiskFloor } from "./disk-floor.ts";
import { StoreError } from "./error.ts";
import { makeFolders } from "./folders.ts";
import { openReadStream } from "./read-stream.ts";

export interface Passing {
  readonly id: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Transit {
  /** Takes what the stream gives, in constant memory. Throws what the stream failed with, TooLongError, or StoreError. */
  put(
    content: Readable | Uint8Array,
    options?: { readonly bytesMax?: number; readonly signal?: AbortSignal },
  ): Promise<Passing>;
  /** Its bytes, or a part of them (`end` is included). Throws StoreError when it is not there. */
  open(id: string, range?: { readonly start: number; readonly end: number }): Promise<Readable>;
  /** Where it lies, for those who cannot do with a stream. */
  fileOf(id: string): string;
  /** Removing a missing one is not an error. */
  remove(id: string): Promise<void>;
}

/** There was more than was to be taken. */
export class TooLongError extends Error {
  override readonly name = "TooLongError";
}

const ID = /^[0-9a-f-]{36}$/;

/** Files in a folder, which is made when it is missing. */
export async function openTransit(folder: string): Promise<Transit> {
  makeFolders(folder);
  const floor = new DiskFloor(folder);
  let sweptAt = 0;
  const sweep = async (): Promise<void> => {
    if (Date.now() - sweptAt < LIMITS.transitKeptMs / 10) return;
    sweptAt = Date.now();
    await removeStale(folder);
  };
  await sweep();
  const fileOf = (id: string): string => {
    if (!ID.test(id)) throw new Error(`${id} names nothing in transit`);
    return path.join(folder, id);
  };
  return {
    fileOf,
    put: async (content, { bytesMax = LIMITS.archiveBytesMax, signal } = {}) => {
      const source = content instanceof Uint8Array ? Readable.from([content]) : content;
      // Before anything is awaited: a stream that fails while nobody listens ends the process.
      source.on("error", () => undefined);
      await sweep();
      const id = randomUUID();
      const counted = new Counted(bytesMax, floor);
      try {
        const sink = createWriteStream(fileOf(id), { flags: "wx" });
        await pipeline(source, counted, sink, ...(signal ? [{ signal }] : []));
        return { id, ...counted.sum() };
      } catch (error) {
        await rm(fileOf(id), { force: true });
        throw fromDisk(error);
      }
    },
    open: async (id, range) => {
      const content = await openReadStream(fileOf(id), range);
      if (!content) throw new StoreError("failed", "the bytes in transit are gone");
      return content;
    },
    remove: (id) => rm(fileOf(id), { force: true }),
  };
}

class Counted extends Transform {
  readonly #hash = createHash("sha256");
  readonly #bytesMax: number;
  readonly #floor: DiskFloor;
  #bytes = 0;

  constructor(bytesMax: number, floor: DiskFloor) {
    super();
    this.#bytesMax = bytesMax;
    this.#floor = floor;
  }

  sum(): { readonly bytes: number; readonly sha256: string } {
    return { bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }

  override _transform(
    chunk: Uint8Array,
    _encoding: BufferEncoding,
    done: (error: Error | null, chunk?: Uint8Array) => void,
  ): void {
    this.#bytes += chunk.length;
    this.#hash.update(chunk);
    if (this.#bytes > this.#bytesMax) done(new TooLongError(`there are more than ${this.#bytesMax} bytes`));
    else this.#floor.take(chunk.length).then(() => done(null, chunk), done);
  }
}

/** A request takes minutes at most; what is an hour old was left by a process that was killed. */
async function removeStale(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const found = await stat(file).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > LIMITS.transitKeptMs) await rm(file, { force: true });
  }
}

function fromDisk(error: unknown): unknown {
  if (!(error instanceof Error && "syscall" in error && "code" in error)) return error;
  if (error.syscall !== "write" && error.syscall !== "open") return error;
  if (error.code === "ENOSPC" || error.code === "EDQUOT") {
    return new StoreError("full", "the disk of the state directory is full", { cause: error });
  }
  return new StoreError("failed", `the state directory cannot be written: ${String(error.code)}`, { cause: error });
}
