/** The files of a sandbox that lies in a folder of this host: read, written and listed without ever leaving that folder. */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  createReadStream,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  type PathLike,
  read,
  readdirSync,
  type Stats,
} from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { promisify } from "node:util";
import { LIMITS } from "../contract/limits.ts";
import { textOfName } from "./file-names.ts";
import { taking } from "./given-stream.ts";
import { packWorkspace, unpackInto } from "./host-archive.ts";
import { codeOf, toSandboxError } from "./host-errors.ts";
import { HeldFolders, placeStats } from "./host-folders.ts";
import { resolveShown } from "./host-paths.ts";
import { type Frozen, removeInside } from "./host-removal.ts";
import { scanWorkspace } from "./host-scan.ts";
import { resolveInside } from "./paths.ts";
import type { FileEntry, FileInfo, Sandbox } from "./provider.ts";
import { SandboxError } from "./provider.ts";

export type SandboxFiles = Pick<
  Sandbox,
  "stat" | "readFile" | "openFile" | "writeFile" | "removeFile" | "listFiles" | "scan" | "pack" | "unpack"
>;

export interface FileFolders {
  /** A real path. */
  readonly workspace: string;
  /** Where the spools lie, which may be read. A real path. */
  readonly calls: string;
  /** For files while they are written; on the same file system as the workspace. */
  readonly temporary: string;
  /** What its commands call the two, where that is something else; paths and symlinks are then read as they are inside. */
  readonly inside?: { readonly workspace: string; readonly calls: string };
  /** Holds its programs still, where that is possible. */
  readonly frozen?: Frozen | undefined;
}

const readDescriptor = promisify(read);
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** The file half of a Sandbox over plain folders. */
export function createSandboxFiles(folders: FileFolders): SandboxFiles {
  const { workspace } = folders;
  /** Every failure becomes a SandboxError in words; a workspace that is gone is a lost sandbox, whatever the call was. */
  const guarded = async <T>(given: string, work: () => T | Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (thrown) {
      if (!existsSync(workspace)) throw new SandboxError("lost", "the sandbox's folder is gone", { cause: thrown });
      throw toSandboxError(thrown, given);
    }
  };
  return {
    stat: (given) =>
      guarded(given, () => {
        const { root, parts } = readable(folders, given);
        const stats = statsOf(root, parts);
        if (stats !== undefined) return fileInfo(stats);
        if (parts.length > 0 && existsSync(workspace)) return undefined;
        throw new SandboxError("lost", "the sandbox's folder is gone");
      }),
    readFile: (given, range) =>
      guarded(given, () => readRange(openRegular(given, readable(folders, given)), given, range)),
    openFile: (given) => guarded(given, () => openStream(openRegular(given, readable(folders, given)))),
    writeFile: (given, content) => taking(content, () => guarded(given, () => replaceFile(folders, given, content))),
    removeFile: (given) => guarded(given, () => removePath(folders, given)),
    scan: (options) => guarded("the workspace", () => scanWorkspace(workspace, options)),
    pack: (paths) => guarded("the workspace", () => packWorkspace(workspace, paths)),
    unpack: (tar) =>
      taking(tar, () =>
        guarded("an entry of the archive", () => {
          makeTemporary(folders);
          return unpackInto(folders, tar);
        }),
      ),
    listFiles: (given, options) => guarded(given, () => listBelow(folders, given, options)),
  };
}

interface Place {
  /** Of the host; a real path. */
  readonly root: string;
  /** Below it, without symlinks as it was when it was looked at. */
  readonly parts: readonly string[];
}

/** Where a path of the workspace leads to. */
function placeInside({ workspace, inside }: FileFolders, given: string): Place {
  const shown = { host: workspace, inside: inside?.workspace ?? workspace };
  return placeBelow(workspace, inside === undefined ? resolveInside(workspace, given) : resolveShown(shown, given));
}

function placeBelow(root: string, real: string): Place {
  return { root, parts: path.relative(root, real).split(path.sep).filter(Boolean) };
}

/** Reading reaches the workspace, and the spools by their absolute path. */
function readable(folders: FileFolders, given: string): Place {
  const calls = folders.inside?.calls ?? folders.calls;
  const below = path.relative(calls, path.normalize(given));
  const isSpool = path.isAbsolute(given) && /^call_[\w-]+\/(stdout|stderr)$/.test(below);
  return isSpool ? placeBelow(folders.calls, resolveInside(folders.calls, below)) : placeInside(folders, given);
}

/** By folders that are held: no symlink that a command puts there meanwhile is followed. */
function statsOf(root: string, parts: readonly string[]): Stats | undefined {
  try {
    using folders = new HeldFolders(root);
    return placeStats(folders.place(parts));
  } catch (thrown) {
    if (["ENOENT", "ENOTDIR"].includes(codeOf(thrown) ?? "")) return undefined;
    throw thrown;
  }
}

interface OpenedFile {
  readonly descriptor: number;
  readonly bytes: number;
}

function openRegular(given: string, { root, parts }: Place): OpenedFile {
  using folders = new HeldFolders(root);
  const descriptor = openSync(folders.place(parts), READ_FLAGS);
  const stats = fstatSync(descriptor);
  if (stats.isFile()) return { descriptor, bytes: stats.size };
  closeSync(descriptor);
  if (stats.isDirectory()) throw new SandboxError("is_folder", `${given} is a folder, expected a file`);
  throw new SandboxError("failed", `${given} is not a regular file`);
}

async function readRange(
  { descriptor, bytes }: OpenedFile,
  given: string,
  range: { readonly offset?: number; readonly length?: number } | undefined,
): Promise<Uint8Array> {
  try {
    const offset = range?.offset ?? 0;
    const wanted = Math.max(0, Math.min(range?.length ?? Number.POSITIVE_INFINITY, bytes - offset));
    if (wanted > LIMITS.fileReadBytesMax) {
      const most = LIMITS.fileReadBytesMax;
      throw new SandboxError("too_large", `${given} has ${bytes} bytes; expected a range of at most ${most} bytes`);
    }
    const buffer = Buffer.allocUnsafe(wanted);
    let filled = 0;
    while (filled < wanted) {
      const { bytesRead } = await readDescriptor(descriptor, buffer, filled, wanted - filled, offset + filled);
      if (bytesRead === 0) break; // It became shorter meanwhile.
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  } finally {
    closeSync(descriptor);
  }
}

function openStream({ descriptor }: OpenedFile): Readable {
  return createReadStream("", { fd: descriptor, autoClose: true });
}

/** The last part is not followed, so a symlink is removed and not what it names. */
async function removePath(folders: FileFolders, given: string): Promise<boolean> {
  const { workspace } = folders;
  const shown = folders.inside?.workspace ?? workspace;
  const wanted = path.resolve(shown, given);
  if (wanted === shown) throw new SandboxError("denied", "the path is the workspace itself, which stays");
  try {
    const parent = placeInside(folders, given.includes("\0") ? given : path.dirname(wanted));
    makeTemporary(folders);
    return await removeInside(workspace, [...parent.parts, path.basename(wanted)], folders);
  } catch (thrown) {
    const isMissing = thrown instanceof SandboxError && thrown.kind === "not_found";
    if ((isMissing || ["ENOENT", "ENOTDIR"].includes(codeOf(thrown) ?? "")) && existsSync(workspace)) return false;
    throw thrown;
  }
}

/** A command may have removed it. Not recursive: the sandbox's folder must not come back after its removal. */
function makeTemporary({ temporary }: Pick<FileFolders, "temporary">): void {
  try {
    mkdirSync(temporary);
  } catch (thrown) {
    if (codeOf(thrown) !== "EEXIST") throw thrown;
  }
}

async function replaceFile(folders: FileFolders, given: string, content: Uint8Array | Readable): Promise<void> {
  if (!existsSync(folders.workspace)) throw new SandboxError("lost", "the sandbox's folder is gone");
  const { root, parts } = placeInside(folders, given);
  if (parts.length === 0) throw new SandboxError("is_folder", "the path is the workspace itself, expected a file");
  // Held until the rename, so that no folder can be swapped for a symlink that leads out meanwhile.
  using held = new HeldFolders(root);
  const target = held.place(parts, { make: true });
  const mode = modeToKeep(target, given);
  makeTemporary(folders);
  await writeThenRename(path.join(folders.temporary, `.${randomUUID()}`), target, { content, mode });
}

function modeToKeep(target: PathLike, given: string): number | undefined {
  const stats = lstatSync(target, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  if (stats.isDirectory()) throw new SandboxError("is_folder", `${given} is a folder, expected a file`);
  if (!stats.isFile()) throw new SandboxError("denied", `${given} is not a regular file`);
  return stats.mode & 0o7777;
}

async function writeThenRename(
  temporary: string,
  target: PathLike,
  file: { readonly content: Uint8Array | Readable; readonly mode: number | undefined },
): Promise<void> {
  try {
    const handle = await open(temporary, "wx");
    try {
      if (file.content instanceof Uint8Array) await handle.writeFile(file.content);
      else await writeStream(handle, file.content);
      if (file.mode !== undefined) await handle.chmod(file.mode);
    } finally {
      await handle.close();
    }
    await rename(temporary, target);
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}

async function writeStream(handle: FileHandle, content: Readable): Promise<void> {
  let isOurs = false;
  try {
    for await (const chunk of content) {
      isOurs = true;
      await handle.writeFile(chunk); // Goes on where the last one ended.
      isOurs = false;
    }
  } catch (cause) {
    if (isOurs || cause instanceof SandboxError) throw cause;
    throw new SandboxError("failed", "what was to be written broke off", { cause });
  }
}

async function listBelow(
  folders: FileFolders,
  given: string,
  { depth, max }: { readonly depth: number; readonly max: number },
): Promise<readonly FileEntry[]> {
  const start = placeInside(folders, given);
  using held = new HeldFolders(start.root);
  const entries: FileEntry[] = [];
  const walk = async (parts: readonly string[], level: number): Promise<void> => {
    for (const name of readdirSync(held.folder(parts), { encoding: "buffer" }).map(textOfName).sort()) {
      if (entries.length >= max) return;
      const inside = [...parts, name];
      const stats = placeStats(held.place(inside));
      if (stats === undefined) continue; // Removed meanwhile.
      entries.push({ path: inside.join("/"), ...fileInfo(stats) });
      if (entries.length % 500 === 0) await setImmediate();
      if (stats.isDirectory() && level < depth) await walk(inside, level + 1).catch(ignoreUnreadable);
    }
  };
  if (depth > 0) await walk(start.parts, 1);
  else held.folder(start.parts);
  return entries;
}

/** A folder below that may not be read, is gone, or was swapped for a symlink, does not hide the others. */
function ignoreUnreadable(thrown: unknown): void {
  if (thrown instanceof SandboxError && thrown.kind === "denied") return;
  if (!["EACCES", "EPERM", "ENOENT", "ENOTDIR"].includes(codeOf(thrown) ?? "")) throw thrown;
}

function fileInfo(stats: Stats): FileInfo {
  return { kind: kindOf(stats), bytes: stats.size, modifiedAt: Math.round(stats.mtimeMs) };
}

function kindOf(stats: Stats): FileInfo["kind"] {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "folder";
  return stats.isSymbolicLink() ? "symlink" : "other";
}
