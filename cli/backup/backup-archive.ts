/** The backup file itself: a plain tar whose first entry is the manifest. Written, and read again entry by entry with its digests checked. */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as WebStream } from "node:stream/web";
import { createTarDecoder, createTarPacker, type ParsedTarEntry, type TarPackController } from "modern-tar";
import { z } from "zod";
import { BackupError, reasonOf } from "./backup-error.ts";
import { type BackupEntry, BackupManifest, MANIFEST_BYTES_MAX, MANIFEST_NAME } from "./manifest.ts";

/** Takes one entry's bytes; they are complete and their digest is right only once the promise of it has resolved. */
export type EntrySink = (entry: BackupEntry, body: AsyncIterable<Uint8Array>) => Promise<void>;

/** Writes the manifest and its entries, taken from `folder`, to a new file that only its owner may read. */
export async function writeArchive(file: string, folder: string, manifest: BackupManifest): Promise<void> {
  const { readable, controller } = createTarPacker();
  const adding = addAll(controller, folder, manifest).then(
    () => controller.finalize(),
    (error: unknown) => controller.error(error),
  );
  await pipeline(
    Readable.fromWeb(readable as WebStream),
    createWriteStream(file, { flags: "wx", mode: 0o600, flush: true }),
  );
  await adding;
}

async function addAll(controller: TarPackController, folder: string, manifest: BackupManifest): Promise<void> {
  const mtime = new Date(manifest.madeAt);
  const text = Buffer.from(JSON.stringify(manifest));
  const add = async (name: string, bytes: number, content: AsyncIterable<Uint8Array>): Promise<void> => {
    const writer = controller.add({ name, size: bytes, type: "file", mode: 0o600, mtime }).getWriter();
    for await (const chunk of content) await writer.write(chunk);
    await writer.close();
  };
  await add(MANIFEST_NAME, text.length, Readable.from([text]));
  for (const { name, bytes } of manifest.entries) {
    const place = path.join(folder, name);
    if (bytes === 0) await add(name, 0, Readable.from([]));
    else await add(name, bytes, createReadStream(place, { end: bytes - 1 }));
  }
}

/**
 * Reads a whole backup file and hands each entry to `sink`. Every byte is accounted for: an entry that is missing, that
 * nobody announced, or that has another size or digest than the manifest says is an error.
 */
export async function readArchive(file: string, sink: EntrySink): Promise<BackupManifest> {
  const handle = await open(file, "r").catch((error: unknown) => {
    throw new BackupError(`${file} cannot be read: ${reasonOf(error)}`, { cause: error });
  });
  try {
    const source = Readable.toWeb(
      handle.createReadStream({ autoClose: false }),
    ) as unknown as ReadableStream<Uint8Array>;
    return await readEntries(file, source.pipeThrough(createTarDecoder({ strict: true })), sink);
  } catch (error) {
    if (error instanceof BackupError || (error instanceof Error && "syscall" in error)) throw error;
    throw new BackupError(`${file} is not a backup of Perdure, or it is damaged: ${reasonOf(error)}`, { cause: error });
  } finally {
    await handle.close();
  }
}

async function readEntries(
  file: string,
  entries: ReadableStream<ParsedTarEntry>,
  sink: EntrySink,
): Promise<BackupManifest> {
  let manifest: BackupManifest | undefined;
  const missing = new Map<string, BackupEntry>();
  for await (const { header, body } of iterable(entries)) {
    if (!manifest) {
      if (header.name !== MANIFEST_NAME)
        throw new BackupError(
          `${file} is not a backup of Perdure: its first entry is ${quoted(header.name)}, not ${MANIFEST_NAME}`,
        );
      manifest = parseManifest(file, await textOf(iterable(body)));
      for (const entry of manifest.entries) missing.set(entry.name, entry);
      continue;
    }
    const entry = missing.get(header.name);
    if (!entry)
      throw new BackupError(`${file} is damaged: it holds ${quoted(header.name)}, which its manifest does not list`);
    missing.delete(header.name);
    await sink(entry, checked(file, entry, iterable(body)));
  }
  if (!manifest) throw new BackupError(`${file} is not a backup of Perdure: it is empty`);
  const [first] = missing.keys();
  if (first !== undefined)
    throw new BackupError(`${file} is cut off: ${missing.size} of its entries are missing, the first is ${first}`);
  return manifest;
}

function parseManifest(file: string, text: string): BackupManifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new BackupError(`${file} is damaged: its manifest is not JSON`, { cause: error });
  }
  const format = z.object({ format: z.number() }).safeParse(json).data?.format;
  if (format !== undefined && format > 1)
    throw new BackupError(`${file} was written by a newer Perdure (format ${format}); update, then restore it`);
  const parsed = BackupManifest.safeParse(json);
  if (!parsed.success)
    throw new BackupError(`${file} is damaged: its manifest is wrong: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Passes the bytes on, and fails at their end when they are not those of the manifest. */
async function* checked(file: string, entry: BackupEntry, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of body) {
    hash.update(chunk);
    bytes += chunk.length;
    yield chunk;
  }
  if (bytes !== entry.bytes || hash.digest("hex") !== entry.sha256)
    throw new BackupError(`${file} is damaged: ${entry.name} is not as it was when the backup was made`);
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MANIFEST_BYTES_MAX) throw new BackupError(`its manifest is larger than ${MANIFEST_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function iterable<T>(stream: ReadableStream<T>): AsyncIterable<T> {
  return stream as unknown as AsyncIterable<T>;
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 200));
}
