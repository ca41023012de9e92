/** The entries of a zip of a stranger, one after another, each checked against what the zip says of it. */
import type { Readable } from "node:stream";
import { crc32 } from "node:zlib";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { LIMITS } from "../contract/limits.ts";
import { type ArchiveGuard, type EntryKind, refused } from "./archive-guard.ts";
import type { StrangeEntry } from "./download-archive.ts";
import { DownloadError } from "./download-fetch.ts";

/** Types of a file in the upper half of an entry's attributes, where a Unix program wrote it. */
const TYPE_BITS = 0o170000;
const TYPES: ReadonlyMap<number, EntryKind> = new Map([
  [0, "file"],
  [0o100000, "file"],
  [0o040000, "folder"],
  [0o120000, "symlink"],
]);

export async function* zipEntries(file: string, guard: ArchiveGuard): AsyncGenerator<StrangeEntry, void, void> {
  const zip = await readable(() => openPromise(file, { strictFileNames: true, autoClose: false }));
  try {
    if (zip.entryCount > LIMITS.archiveEntriesMax) {
      throw new DownloadError("PAYLOAD_TOO_LARGE", `the archive has more than ${LIMITS.archiveEntriesMax} entries`);
    }
    const entries = zip.eachEntry()[Symbol.asyncIterator]();
    while (true) {
      const next = await readable(() => entries.next());
      if (next.done === true) return;
      yield await strange(zip, next.value, guard);
    }
  } finally {
    zip.close();
  }
}

async function strange(zip: ZipFile, entry: Entry, guard: ArchiveGuard): Promise<StrangeEntry> {
  const { fileName: name, uncompressedSize: size } = entry;
  if (entry.isEncrypted()) throw refused(`${JSON.stringify(name.slice(0, 200))} is encrypted`);
  const mode = entry.externalFileAttributes >>> 16;
  const kind = name.endsWith("/") ? "folder" : TYPES.get(mode & TYPE_BITS);
  if (kind === undefined) throw refused(`${JSON.stringify(name.slice(0, 200))} is no file, folder or symlink`);
  guard.checkSize(size);
  const body = content(zip, entry, guard);
  return {
    name,
    kind,
    size,
    mode: mode === 0 ? undefined : mode,
    modifiedAt: entry.getLastModDate(),
    ...(kind === "symlink" && { target: await text(body, size) }),
    body,
  };
}

async function* content(zip: ZipFile, entry: Entry, guard: ArchiveGuard): AsyncGenerator<Uint8Array, void, void> {
  const stream: Readable = await readable(() => zip.openReadStreamPromise(entry));
  let sum = 0;
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  try {
    while (true) {
      const next = await readable(() => chunks.next());
      if (next.done === true) break;
      guard.count(next.value.length);
      sum = crc32(next.value, sum);
      yield next.value;
    }
  } finally {
    stream.destroy();
  }
  if (sum !== entry.crc32)
    throw refused(`${JSON.stringify(entry.fileName.slice(0, 200))} is damaged: its sum is wrong`);
}

async function text(body: AsyncIterable<Uint8Array>, size: number): Promise<string> {
  if (size > LIMITS.pathCharactersMax) throw refused("a symlink leads to a path that is too long");
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

/** What yauzl says of a zip that it cannot read is about the zip. */
async function readable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof DownloadError) throw cause;
    throw refused(`the zip cannot be read (${cause instanceof Error ? cause.message : "unknown"})`, { cause });
  }
}
