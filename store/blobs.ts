/** Bytes by their SHA-256, as files. A blob is whole or not there: it is written under a temporary name and renamed. */
import { createHash, randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Readable, Transform, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { LIMITS } from "../contract/limits.ts";
import { DiskFloor } from "./disk-floor.ts";
import { StoreError } from "./error.ts";
import { makeFolders } from "./folders.ts";
import { openReadStream } from "./read-stream.ts";

export interface Blob {
  readonly sha256: string;
  readonly bytes: number;
}

export interface BlobStore {
  /** Stores what the stream gives, in constant memory. Storing the same bytes twice keeps one file. Throws StoreError, also when the disk is full. */
  put(content: Readable | Uint8Array, signal?: AbortSignal): Promise<Blob>;
  /** A blob's bytes, or a part of them (`end` is included). Throws StoreError when it is not there. */
  open(sha256: string, range?: { readonly start: number; readonly end: number }): Promise<Readable>;
  has(sha256: string): Promise<boolean>;
  /** Removing a missing one is not an error. */
  remove(sha256: string): Promise<void>;
  /** So many that come after a name, in the order of their names. */
  after(name: string, most: number): Promise<readonly string[]>;
  /** Those of them whose file was last written so long ago. */
  olderThan(names: readonly string[], ageMs: number): Promise<readonly string[]>;
}

const STALE_MS = 3_600_000;
const NAME = /^[0-9a-f]{64}$/;

/** Blobs in a folder: `ab/abcdef…`, the first two digits as a folder. */
export async function openBlobStore(folder: string): Promise<BlobStore> {
  const temporary = path.join(folder, "tmp");
  makeFolders(temporary);
  await removeStale(temporary);
  const floor = new DiskFloor(folder);
  const place = (sha256: string): string => path.join(folder, sha256.slice(0, 2), sha256);
  return {
    put: async (content, signal) => {
      const source = content instanceof Uint8Array ? Readable.from([content]) : content;
      const first = new FirstFailure();
      first.watch(source, "source");
      const file = path.join(temporary, randomUUID());
      try {
        await mkdir(temporary, { recursive: true });
        const sink = createWriteStream(file, { flags: "wx" });
        first.watch(sink, "sink");
        const blob = await writeHashed(source, sink, { floor, signal });
        await sync(file);
        const into = path.dirname(place(blob.sha256));
        const made = await mkdir(into, { recursive: true });
        await rename(file, place(blob.sha256));
        // Without it a power cut may take back the name of a file whose row it keeps.
        await syncFolder(into);
        if (made !== undefined) await syncFolder(folder);
        return blob;
      } catch (error) {
        throw first.ofSource ? first.ofSource.error : fromDisk(error);
      } finally {
        await rm(file, { force: true });
      }
    },
    open: async (sha256, range) => {
      const content = await openReadStream(place(sha256), range);
      if (!content) throw new StoreError("corrupt", `blob ${sha256} is not in the store`);
      return content;
    },
    has: async (sha256) => (await stat(place(sha256)).catch(() => undefined))?.isFile() ?? false,
    remove: (sha256) => rm(place(sha256), { force: true }),
    after: (name, most) => namesAfter(folder, name, most),
    olderThan: async (names, ageMs) => {
      const before = Date.now() - ageMs;
      const old: string[] = [];
      for (const name of names) {
        const found = await stat(place(name)).catch(() => undefined);
        if (found?.isFile() && found.mtimeMs <= before) old.push(name);
      }
      return old;
    },
  };
}

/** Folder by folder: no more names are in memory than one of 256 folders has. */
async function namesAfter(folder: string, after: string, most: number): Promise<readonly string[]> {
  const names: string[] = [];
  const prefixes = (await readdir(folder)).filter((name) => /^[0-9a-f]{2}$/.test(name));
  for (const prefix of prefixes.toSorted()) {
    if (prefix < after.slice(0, 2)) continue;
    const within = (await readdir(path.join(folder, prefix))).filter((name) => name > after && NAME.test(name));
    names.push(...within.toSorted().slice(0, most - names.length));
    if (names.length >= most) break;
  }
  return names;
}

/**
 * Which end of a pipeline failed first: it then ends the other with the same error. Made before anything is awaited,
 * because a stream that fails while nobody listens ends the process.
 */
class FirstFailure {
  #end: "source" | "sink" | undefined;
  #error: unknown;

  watch(stream: Readable | Writable, end: "source" | "sink"): void {
    stream.on("error", (error) => {
      if (this.#end === undefined) this.#error = error;
      this.#end ??= end;
    });
  }

  /** What the source failed with, when it was the first. */
  get ofSource(): { readonly error: unknown } | undefined {
    return this.#end === "source" ? { error: this.#error } : undefined;
  }
}

async function writeHashed(
  source: Readable,
  sink: Writable,
  { floor, signal }: { readonly floor: DiskFloor; readonly signal: AbortSignal | undefined },
): Promise<Blob> {
  const hash = createHash("sha256");
  let bytes = 0;
  const count = new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      if (bytes > LIMITS.artifactBytesMax)
        done(new StoreError("failed", `a file is larger than ${LIMITS.artifactBytesMax} bytes, the most that is kept`));
      else floor.take(chunk.length).then(() => done(null, chunk), done);
    },
  });
  await pipeline(source, count, sink, ...(signal ? [{ signal }] : []));
  return { sha256: hash.digest("hex"), bytes };
}

/** Before the row that names it is committed. */
async function sync(file: string): Promise<void> {
  const handle = await open(file, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Where the system cannot open a folder, it cannot be done. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  try {
    await handle?.sync();
  } finally {
    await handle?.close();
  }
}

/** Files that a killed process left half written. */
async function removeStale(temporary: string): Promise<void> {
  for (const name of await readdir(temporary)) {
    const file = path.join(temporary, name);
    const found = await stat(file).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > STALE_MS) await rm(file, { force: true });
  }
}

function fromDisk(error: unknown): unknown {
  if (!(error instanceof Error && "syscall" in error && "code" in error)) return error;
  if (error.code === "ENOSPC" || error.code === "EDQUOT") {
    return new StoreError("full", "the disk that holds the artifacts is full", { cause: error });
  }
  return new StoreError("failed", `the artifact store cannot be written: ${String(error.code)}`, { cause: error });
}
