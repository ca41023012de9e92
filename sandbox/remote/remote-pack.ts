/** Files of a remote sandbox as a tar: its own tar reads them, and only what was asked for comes through. */
import { Readable } from "node:stream";
import { ReadableStream } from "node:stream/web";
import { createTarDecoder, createTarPacker, type ParsedTarEntry, type TarPackController } from "modern-tar";
import { archiveTime } from "../archive-time.ts";
import { nameOfText, textOfName } from "../file-names.ts";
import { SandboxError } from "../provider.ts";
import { pathWords, plainRelative } from "./remote-paths.ts";
import { toSandboxError } from "./request-errors.ts";
import type { Shells } from "./shells.ts";

/** Names of one request, by their number and their length as words for the shell. */
const BATCH = { names: 1_000, characters: 64 * 1024 } as const;

/** See `Sandbox.pack`. */
export function packRemote(shells: Shells, paths: readonly string[]): Readable {
  const names = paths.map(plainRelative);
  const { readable, controller } = createTarPacker();
  addAll(shells, names, controller).then(
    () => controller.finalize(),
    (thrown: unknown) => controller.error(thrown),
  );
  return Readable.fromWeb(readable);
}

async function addAll(shells: Shells, names: readonly string[], controller: TarPackController): Promise<void> {
  for (const batch of batches(names)) await addBatch(shells, batch, controller);
}

function* batches(names: readonly string[]): Generator<readonly string[], void, void> {
  let batch: string[] = [];
  let characters = 0;
  for (const name of names) {
    // A tar's reader gives names as text: what is no UTF-8 is known by being alone.
    if (typeof nameOfText(name) !== "string") {
      if (batch.length > 0) yield batch;
      yield [name];
      batch = [];
      characters = 0;
      continue;
    }
    if (batch.length >= BATCH.names || (batch.length > 0 && characters + name.length > BATCH.characters)) {
      yield batch;
      batch = [];
      characters = 0;
    }
    batch.push(name);
    characters += name.length + 3;
  }
  if (batch.length > 0) yield batch;
}

/** Only members that were asked for, each once and in that order; a tar that goes into folders brings more. */
async function addBatch(shells: Shells, names: readonly string[], controller: TarPackController): Promise<void> {
  const [only = ""] = names;
  if (names.length === 1 && typeof nameOfText(only) !== "string") return await addAlone(shells, only, controller);
  const wanted = new Map(names.map((name, index) => [name, index]));
  let last = -1;
  for await (const entry of members(shells, `tar_files ${pathWords(...names)}`)) {
    const name = textOfName(Buffer.from(entry.header.name.replace(/\/$/, "")));
    const index = wanted.get(name) ?? -1;
    if (index <= last) {
      await drop(entry.body);
      continue;
    }
    last = index;
    if (entry.header.type !== "link") await addMember(entry, name, controller);
    else {
      // The name of a file that came before under another: alone it comes with its content.
      await drop(entry.body);
      for await (const alone of members(shells, `tar_files ${pathWords(name)}`))
        await addMember(alone, name, controller);
    }
  }
}

async function addAlone(shells: Shells, name: string, controller: TarPackController): Promise<void> {
  let isAdded = false;
  for await (const entry of members(shells, `tar_files ${pathWords(name)}`)) {
    if (isAdded) await drop(entry.body);
    else await addMember(entry, name, controller);
    isAdded = true;
  }
}

async function addMember({ header, body }: ParsedTarEntry, name: string, controller: TarPackController): Promise<void> {
  const { type, mode = 0o644, mtime = new Date(0), linkname = "" } = header;
  const kept = { mode: mode & 0o7777, mtime: archiveTime("tar", mtime) };
  if (type === "directory") await controller.add({ ...kept, name: `${name}/`, type, size: 0 }).close();
  else if (type === "symlink") await controller.add({ ...kept, name, type, linkname, size: 0 }).close();
  else if (type === "file" || type === undefined) {
    const writer = controller.add({ ...kept, name, type: "file", size: header.size }).getWriter();
    for await (const piece of body) await writer.write(piece);
    await writer.close();
    return;
  }
  await drop(body);
}

/** Read to its end, as the entries after it come by the same way. */
async function drop(body: ParsedTarEntry["body"]): Promise<void> {
  for await (const _ of body);
}

async function* members(shells: Shells, line: string): AsyncGenerator<ParsedTarEntry, void, void> {
  const archive = ReadableStream.from(answerPieces(shells, line)) as ReadableStream<Uint8Array>;
  try {
    yield* archive.pipeThrough(createTarDecoder());
  } catch (cause) {
    if (cause instanceof SandboxError) throw cause;
    throw new SandboxError("failed", "the sandbox does not work as it should: its tar cannot be read", { cause });
  }
}

async function* answerPieces(shells: Shells, line: string): AsyncGenerator<Uint8Array, void, void> {
  const shell = await shells.take();
  try {
    const answer = shell.request(line);
    while (true) {
      const next = await answer.next();
      if (next.done !== true) yield next.value;
      else if (next.value === 0) return;
      else throw toSandboxError({ status: next.value, output: Buffer.from("tar") }, "the archive");
    }
  } catch (thrown) {
    throw thrown instanceof SandboxError ? thrown : await shells.whyEnded();
  } finally {
    shells.giveBackOrClose(shell);
  }
}
