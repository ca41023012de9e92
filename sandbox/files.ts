/** The files of a sandbox that lies in a folder of this host: read, written and listed without ever leaving that folder. */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  createReadStream,
  type Dirent,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  read,
  type Stats,
  statSync,
} from "node:fs";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { LIMITS } from "../contract/limits.ts";
import { packWorkspace, unpackInto } from "./host-archive.ts";
import { codeOf, toSandboxError } from "./host-errors.ts";
import { removeInside } from "./host-removal.ts";
import { scanWorkspace } from "./host-scan.ts";
import { descriptorPath, isInside, openInside, resolveInside } from "./paths.ts";
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
}

const readDescriptor = promisify(read);

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
        const { root, real } = readable(folders, given);
        const stats = statSync(real, { throwIfNoEntry: false });
        if (stats === undefined) {
          if (root === real) throw new SandboxError("lost", "the sandbox's folder is gone");
          return undefined;
        }
        return fileInfo(stats);
      }),
    readFile: (given, range) => guarded(given, () => readRange(openRegular(folders, given), given, range)),
    openFile: (given) => guarded(given, () => openStream(openRegular(folders, given))),
    writeFile: (given, content) => guarded(given, () => replaceFile(folders, given, content)),
    removeFile: (given) => guarded(given, () => removePath(folders, given)),
    scan: (options) => guarded("the workspace", () => scanWorkspace(workspace, options)),
    pack: (paths) => guarded("the workspace", () => packWorkspace(workspace, paths)),
    unpack: (tar) =>
      guarded("an entry of the archive", () => {
        makeTemporary(folders);
        return unpackInto(workspace, folders.temporary, tar);
      }),
    listFiles: (given, options) => guarded(given, () => listBelow(workspace, given, options)),
  };
}

/** Reading reaches the workspace, and the spools by their absolute path. */
function readable({ workspace, calls }: FileFolders, given: string): { root: string; real: string } {
  const absolute = path.normalize(given);
  const isSpool = isInside(calls, absolute) && /^call_[\w-]+\/(stdout|stderr)$/.test(path.relative(calls, absolute));
  const root = isSpool ? calls : workspace;
  return { root, real: resolveInside(root, given) };
}

interface OpenedFile {
  readonly descriptor: number;
  readonly bytes: number;
}

function openRegular(folders: FileFolders, given: string): OpenedFile {
  const { root, real } = readable(folders, given);
  const descriptor = openInside(root, real, constants.O_RDONLY);
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
async function removePath({ workspace, temporary }: FileFolders, given: string): Promise<boolean> {
  const wanted = path.resolve(workspace, given);
  if (wanted === workspace) throw new SandboxError("denied", "the path is the workspace itself, which stays");
  const parent = resolveInside(workspace, given.includes("\0") ? given : path.dirname(wanted));
  const parts = [...path.relative(workspace, parent).split(path.sep), path.basename(wanted)].filter(Boolean);
  makeTemporary({ temporary });
  try {
    return await removeInside(workspace, parts, temporary);
  } catch (thrown) {
    if (["ENOENT", "ENOTDIR"].includes(codeOf(thrown) ?? "") && existsSync(workspace)) return false;
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

async function replaceFile(
  { workspace, temporary }: FileFolders,
  given: string,
  content: Uint8Array | Readable,
): Promise<void> {
  if (!existsSync(workspace)) throw new SandboxError("lost", "the sandbox's folder is gone");
  const real = resolveInside(workspace, given);
  if (real === workspace) throw new SandboxError("is_folder", "the path is the workspace itself, expected a file");
  mkdirSync(path.dirname(real), { recursive: true });
  // Held open until the rename, so that the folder cannot be swapped for a symlink that leads out meanwhile.
  const folder = openInside(workspace, path.dirname(real), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const target = path.join(descriptorPath(folder) ?? path.dirname(real), path.basename(real));
    const mode = modeToKeep(target, given);
    makeTemporary({ temporary });
    await writeThenRename(path.join(temporary, `.${randomUUID()}`), target, { content, mode });
  } finally {
    closeSync(folder);
  }
}

function modeToKeep(target: string, given: string): number | undefined {
  const stats = lstatSync(target, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  if (stats.isDirectory()) throw new SandboxError("is_folder", `${given} is a folder, expected a file`);
  if (!stats.isFile()) throw new SandboxError("denied", `${given} is not a regular file`);
  return stats.mode & 0o7777;
}

async function writeThenRename(
  temporary: string,
  target: string,
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
  workspace: string,
  given: string,
  { depth, max }: { readonly depth: number; readonly max: number },
): Promise<readonly FileEntry[]> {
  const entries: FileEntry[] = [];
  const walk = async (folder: string, level: number): Promise<void> => {
    const inside = (await readdir(folder, { withFileTypes: true })).sort(byName);
    for (const { name } of inside) {
      if (entries.length >= max) return;
      const file = path.join(folder, name);
      const stats = lstatSync(file, { throwIfNoEntry: false });
      if (stats === undefined) continue; // Removed meanwhile.
      entries.push({ path: path.relative(workspace, file).split(path.sep).join("/"), ...fileInfo(stats) });
      if (stats.isDirectory() && level < depth) await walk(file, level + 1).catch(ignoreUnreadable);
    }
  };
  const start = resolveInside(workspace, given);
  // Opening checks that it is a folder and really inside.
  closeSync(openInside(workspace, start, constants.O_RDONLY | constants.O_DIRECTORY));
  if (depth > 0) await walk(start, 1);
  return entries;
}

function byName(a: Dirent, b: Dirent): number {
  return a.name < b.name ? -1 : 1;
}

/** A folder below that may not be read, or is gone, does not hide the others. */
function ignoreUnreadable(thrown: unknown): void {
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
