/** Files of a workspace on this host as a tar, and back: streamed, and contained by folders that are held open. */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  futimesSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { createTarDecoder, createTarPacker, type TarHeader, type TarPackController } from "modern-tar";
import { archiveTime } from "./archive-time.ts";
import { nameOfText, textOfName } from "./file-names.ts";
import { HeldFolders, partsInside, placeStats, unlinkPlace } from "./host-folders.ts";
import { type Frozen, removeFolder } from "./host-removal.ts";
import { SandboxError } from "./provider.ts";
import { bytesOf } from "./web-bytes.ts";

const READ_BYTES = 256 * 1024;
/** How long the work keeps everybody else waiting at once. */
const TURN_MS = 8;
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** Permission bits that are laid: no file of an archive becomes setuid or setgid. */
const MODE_BITS = 0o1777;

/** See `Sandbox.pack`. A file that became shorter while it was read is filled up with zeros. */
export function packWorkspace(workspace: string, paths: readonly string[]): Readable {
  const wanted = paths.map(partsInside);
  const { readable, controller } = createTarPacker();
  addAll(workspace, wanted, controller).then(
    () => controller.finalize(),
    (thrown: unknown) => controller.error(thrown),
  );
  return Readable.fromWeb(readable);
}

async function addAll(
  workspace: string,
  wanted: readonly (readonly string[])[],
  controller: TarPackController,
): Promise<void> {
  using folders = new HeldFolders(workspace);
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  for (const parts of wanted) {
    try {
      await addOne(folders, parts, { controller, buffer });
    } catch (thrown) {
      if (!isGone(thrown)) throw thrown;
    }
  }
}

async function addOne(
  folders: HeldFolders,
  parts: readonly string[],
  { controller, buffer }: { readonly controller: TarPackController; readonly buffer: Buffer },
): Promise<void> {
  const place = folders.place(parts);
  const stats = placeStats(place);
  if (stats === undefined) return;
  const header = { name: parts.join("/"), mode: stats.mode & 0o7777, mtime: archiveTime("tar", stats.mtime), size: 0 };
  if (stats.isSymbolicLink()) {
    return controller
      .add({ ...header, type: "symlink", linkname: textOfName(readlinkSync(place, { encoding: "buffer" })) })
      .close();
  }
  if (stats.isDirectory()) return controller.add({ ...header, name: `${header.name}/`, type: "directory" }).close();
  if (!stats.isFile()) return;
  const descriptor = openSync(place, READ_FLAGS);
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile()) return; // It was swapped since it was looked at.
    const { size, mode, mtime: changed } = found;
    const file: TarHeader = { ...header, mode: mode & 0o7777, mtime: archiveTime("tar", changed), size, type: "file" };
    const writer = controller.add(file).getWriter();
    for (let done = 0; done < size; ) {
      const wanted = Math.min(READ_BYTES, size - done);
      const count = readSync(descriptor, buffer, 0, wanted, done);
      const chunk = count > 0 ? Buffer.from(buffer.subarray(0, count)) : Buffer.alloc(wanted);
      done += chunk.length;
      await writer.write(chunk);
      await setImmediate();
    }
    await writer.close();
  } finally {
    closeSync(descriptor);
  }
}

export interface UnpackPlace {
  readonly workspace: string;
  /** Files are written here and renamed into their place. */
  readonly temporary: string;
  readonly frozen?: Frozen | undefined;
}

/** See `Sandbox.unpack`. */
export async function unpackInto({ workspace, temporary, frozen }: UnpackPlace, tar: Readable): Promise<void> {
  using folders = new HeldFolders(workspace);
  const laid: Laying = { folders, temporary, frozen, modes: new Map() };
  let turnEnds = Date.now() + TURN_MS;
  const entries = bytesOf(tar).pipeThrough(createTarDecoder({ strict: true }));
  for await (const { header, body } of readable(entries)) {
    await layEntry(laid, header, readable(body));
    if (Date.now() < turnEnds) continue;
    await setImmediate();
    turnEnds = Date.now() + TURN_MS;
  }
  // Last and from the inside out: a folder that may not be written must not keep its files out.
  for (const [name, { mode, mtime }] of [...laid.modes].reverse()) {
    const descriptor = openSync(folders.folder(partsInside(name)), constants.O_RDONLY | constants.O_DIRECTORY);
    fchmodSync(descriptor, mode);
    if (mtime !== undefined) futimesSync(descriptor, mtime, mtime);
    closeSync(descriptor);
  }
}

type Body = AsyncIterable<Uint8Array>;

interface Laying {
  readonly folders: HeldFolders;
  readonly temporary: string;
  readonly frozen: Frozen | undefined;
  readonly modes: Map<string, { readonly mode: number; readonly mtime: Date | undefined }>;
}

async function layEntry(laying: Laying, header: TarHeader, body: Body): Promise<void> {
  const { folders, temporary, frozen, modes } = laying;
  const parts = partsInside(header.name);
  const place = folders.place(parts, { make: true });
  const standing = placeStats(place);
  if (header.type === "directory") {
    if (standing !== undefined && !standing.isDirectory()) unlinkPlace(place);
    if (!standing?.isDirectory()) mkdirSync(place);
    modes.set(parts.join("/"), { mode: (header.mode ?? 0o755) & MODE_BITS, mtime: header.mtime });
    for await (const _ of body) throw new SandboxError("failed", `${header.name} is a folder with content`);
    return;
  }
  if (header.type !== "file" && header.type !== "symlink" && header.type !== undefined) {
    throw new SandboxError("denied", `${header.name} is a ${header.type}; expected a file, a folder or a symlink`);
  }
  if (standing?.isDirectory()) await removeFolder(place, temporary, frozen);
  const written = path.join(temporary, `.${randomUUID()}`);
  try {
    if (header.type === "symlink") laySymlink(written, header);
    else await layFile(written, header, body);
    renameSync(written, place);
  } catch (thrown) {
    rmSync(written, { force: true });
    throw thrown;
  }
}

/** What breaks while the archive is read is told apart from what breaks while it is laid. */
async function* readable<T>(stream: AsyncIterable<T>): AsyncGenerator<T, void, void> {
  const reading = stream[Symbol.asyncIterator]();
  try {
    while (true) {
      const next = await reading.next().catch((cause: unknown) => {
        if (cause instanceof SandboxError) throw cause;
        const words = cause instanceof Error ? cause.message : "unknown";
        throw new SandboxError("failed", `the archive could not be read to its end: ${words}`, { cause });
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await reading.return?.().catch(() => undefined);
  }
}

function laySymlink(written: string, { name, linkname, mtime }: TarHeader): void {
  if (!linkname) throw new SandboxError("denied", `${name} is a symlink to nothing`);
  symlinkSync(nameOfText(linkname), written);
  if (mtime !== undefined) lutimesSync(written, mtime, mtime);
}

async function layFile(written: string, header: TarHeader, body: Body): Promise<void> {
  const descriptor = openSync(written, "wx", 0o600);
  try {
    let turnEnds = Date.now() + TURN_MS;
    for await (const chunk of body) {
      for (let done = 0; done < chunk.length; ) done += writeSync(descriptor, chunk, done);
      if (Date.now() < turnEnds) continue;
      await setImmediate();
      turnEnds = Date.now() + TURN_MS;
    }
    fchmodSync(descriptor, (header.mode ?? 0o644) & MODE_BITS);
    if (header.mtime !== undefined) futimesSync(descriptor, header.mtime, header.mtime);
  } finally {
    closeSync(descriptor);
  }
}

function isGone(thrown: unknown): boolean {
  if (thrown instanceof SandboxError) return thrown.kind === "denied";
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  return ["ENOENT", "ENOTDIR", "ELOOP"].includes(String(code));
}
