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
import { open, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { LIMITS } from "../contract/limits.ts";
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
    writeFile: (given, content) =>
      guarded(given, async () =>
        replaceFile(folders, given, content instanceof Uint8Array ? content : Buffer.concat(await content.toArray())),
      ),
    removeFile: () => Promise.reject(new SandboxError("failed", "not yet")),
    scan: () => Promise.reject(new SandboxError("failed", "not yet")),
    pack: () => Promise.reject(new SandboxError("failed", "not yet")),
    unpack: () => Promise.reject(new SandboxError("failed", "not yet")),
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

async function replaceFile({ workspace, temporary }: FileFolders, given: string, content: Uint8Array): Promise<void> {
  if (!existsSync(workspace)) throw new SandboxError("lost", "the sandbox's folder is gone");
  const real = resolveInside(workspace, given);
  if (real === workspace) throw new SandboxError("is_folder", "the path is the workspace itself, expected a file");
  mkdirSync(path.dirname(real), { recursive: true });
  // Held open until the rename, so that the folder cannot be swapped for a symlink that leads out meanwhile.
  const folder = openInside(workspace, path.dirname(real), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const target = path.join(descriptorPath(folder) ?? path.dirname(real), path.basename(real));
    const mode = modeToKeep(target, given);
    mkdirSync(temporary, { recursive: true }); // A command may have removed it.
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
  file: { readonly content: Uint8Array; readonly mode: number | undefined },
): Promise<void> {
  try {
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(file.content);
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

function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : undefined;
}

/** The words of a failed file operation, without paths of the host. */
function toSandboxError(thrown: unknown, given: string): SandboxError {
  if (thrown instanceof SandboxError) return thrown;
  const code = codeOf(thrown);
  const options = { cause: thrown };
  switch (code) {
    case "ENOENT":
      return new SandboxError("not_found", `there is no ${given}`, options);
    case "ENOTDIR":
      return new SandboxError("not_found", `${given}: expected a folder, found something else on the way`, options);
    case "EISDIR":
      return new SandboxError("is_folder", `${given} is a folder, expected a file`, options);
    case "EEXIST":
      return new SandboxError("failed", `${given}: a file is where a folder is needed`, options);
    case "ELOOP":
    case "EACCES":
    case "EPERM":
      return new SandboxError("denied", `${given} may not be accessed (${code})`, options);
    case "ENOSPC":
    case "EDQUOT":
      return new SandboxError("failed", `no space is left to write ${given}`, options);
    case "ENAMETOOLONG":
      return new SandboxError("denied", `the path has a name that is too long`, options);
    default:
      return new SandboxError("failed", `${given} could not be accessed (${code ?? "unknown"})`, options);
  }
}
