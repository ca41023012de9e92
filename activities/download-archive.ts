/**
 * An archive of a stranger, zip or tar or tar.gz, told by its first bytes: read once to its end under the guard, and written
 * anew as a tar of ours with nothing but files, folders and symlinks. Only when all of it was good is there a tar to lay in.
 */
import type { Readable } from "node:stream";
import { pipeline, Transform } from "node:stream";
import { createGunzip } from "node:zlib";
import type { TarHeader } from "modern-tar";
import type { Passing, Transit } from "../store/transit.ts";
import { ArchiveGuard, type EntryKind, refused } from "./archive-guard.ts";
import { DownloadError } from "./download-fetch.ts";
import { noBody, type TarEntry, tarEntries, toTar } from "./tar-entries.ts";
import { zipEntries } from "./zip-entries.ts";

/** An entry as an archive of any kind has it, still of a stranger. */
export interface StrangeEntry {
  readonly name: string;
  readonly kind: EntryKind;
  readonly size: number;
  readonly mode: number | undefined;
  readonly modifiedAt: Date | undefined;
  /** Of a symlink. */
  readonly target?: string;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface OpenedArchive {
  /** In transit. */
  readonly tar: string;
  readonly files: number;
  /** By path in the workspace. */
  readonly kinds: ReadonlyMap<string, EntryKind>;
}

const FOLDER_MODE = 0o755;
const FILE_MODE = 0o644;
const PERMISSIONS = 0o777;
/** Of a zip, and of one with nothing in it. */
const ZIP_BEGINNINGS = ["504b0304", "504b0506"];
const GZIP_BEGINNING = "1f8b";

/** Throws DownloadError: ARCHIVE_REFUSED, or PAYLOAD_TOO_LARGE for a cap. */
export async function openedArchive(
  transit: Transit,
  archive: Passing,
  to: { readonly folder: string; readonly signal: AbortSignal },
): Promise<OpenedArchive> {
  const guard = new ArchiveGuard(archive.bytes);
  const prefix = to.folder === "" ? "" : `${to.folder}/`;
  const written = { files: 0 };
  const strange = await entriesOf(transit, archive, guard);
  const tar = toTar(checked(strange, { guard, prefix, written }));
  const { id } = await transit.put(tar, { signal: to.signal, bytesMax: Number.POSITIVE_INFINITY });
  const kinds = new Map([...guard.kinds].map(([path, kind]) => [prefix + path, kind]));
  return { tar: id, files: written.files, kinds };
}

async function entriesOf(
  transit: Transit,
  archive: Passing,
  guard: ArchiveGuard,
): Promise<AsyncIterable<StrangeEntry>> {
  const first = Buffer.concat(await (await transit.open(archive.id, { start: 0, end: 3 })).toArray());
  const beginning = first.toString("hex");
  if (ZIP_BEGINNINGS.includes(beginning)) return zipEntries(transit.fileOf(archive.id), guard);
  const content = await transit.open(archive.id);
  return strangeTar(beginning.startsWith(GZIP_BEGINNING) ? unzipped(content, guard) : content, guard);
}

/** What comes out is counted here: an archive may hold more than its entries say. */
function unzipped(content: Readable, guard: ArchiveGuard): Readable {
  const counted = new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      try {
        guard.count(chunk.length);
        done(null, chunk);
      } catch (error) {
        done(error as Error);
      }
    },
  });
  return pipeline(content, createGunzip(), counted, () => undefined);
}

async function* strangeTar(content: Readable, guard: ArchiveGuard): AsyncGenerator<StrangeEntry, void, void> {
  for await (const { header, body } of readable(tarEntries(content))) {
    yield {
      name: header.name,
      kind: kindOf(header),
      size: header.size,
      mode: header.mode,
      modifiedAt: header.mtime,
      ...(header.linkname !== undefined && { target: header.linkname }),
      body: readable(body),
    };
  }
  if (guard.entries === 0) throw refused("it is no zip, tar or tar.gz, or there is nothing in it");
}

/** What breaks while a tar is read is about the tar. */
async function* readable<T>(stream: AsyncIterable<T>): AsyncGenerator<T, void, void> {
  const reading = stream[Symbol.asyncIterator]();
  try {
    while (true) {
      const next = await reading.next().catch((cause: unknown) => {
        if (cause instanceof DownloadError) throw cause;
        const words = cause instanceof Error ? cause.message : "unknown";
        throw refused(`it is no zip, tar or tar.gz that can be read to its end (${words})`, { cause });
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await reading.return?.().catch(() => undefined);
  }
}

function kindOf({ name, type = "file" }: TarHeader): EntryKind {
  switch (type) {
    case "file":
    case "symlink":
      return type;
    case "directory":
      return "folder";
    default:
      throw refused(`${JSON.stringify(name.slice(0, 200))} is a ${type}; only files, folders and symlinks are taken`);
  }
}

async function* checked(
  entries: AsyncIterable<StrangeEntry>,
  to: { readonly guard: ArchiveGuard; readonly prefix: string; readonly written: { files: number } },
): AsyncGenerator<TarEntry, void, void> {
  const { guard, prefix, written } = to;
  for await (const { name, kind, size, mode, modifiedAt, target, body } of entries) {
    const place = guard.enter(name, kind);
    if (place === "") continue;
    guard.checkSize(kind === "file" ? size : 0);
    const permissions = (mode ?? (kind === "folder" ? FOLDER_MODE : FILE_MODE)) & PERMISSIONS;
    const base = { mode: permissions, ...(modifiedAt && { mtime: modifiedAt }) };
    if (kind === "folder") {
      yield { header: { ...base, name: `${prefix}${place}/`, type: "directory", size: 0 }, body: noBody() };
    } else if (kind === "symlink") {
      guard.checkTarget(place, target ?? "");
      const header: TarHeader = { ...base, name: prefix + place, type: "symlink", size: 0, linkname: target ?? "" };
      yield { header, body: noBody() };
    } else {
      written.files += 1;
      yield { header: { ...base, name: prefix + place, type: "file", size }, body };
    }
  }
}
