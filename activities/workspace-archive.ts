/** A folder or a file of a workspace as a zip or a tar, streamed through; names are relative to the folder's own parent. */
import { type PassThrough, Readable } from "node:stream";
import { finished } from "node:stream/promises";
import type { TarHeader } from "modern-tar";
import { ZipFile } from "yazl";
import { LIMITS } from "../contract/limits.ts";
import type { WorkspaceAnswer } from "../contract/workspace.ts";
import { archiveTime } from "../sandbox/archive-time.ts";
import { type Sandbox, SandboxError, type ScannedEntry } from "../sandbox/provider.ts";
import type { Transit } from "../store/transit.ts";
import { noBody, type TarEntry, tarEntries, toTar } from "./tar-entries.ts";

const FILE_TYPE = 0o100000;
const SYMLINK_TYPE = 0o120000;

export async function packArchive(
  transit: Transit,
  sandbox: Sandbox,
  work: { readonly path: string; readonly format: "zip" | "tar"; readonly signal: AbortSignal },
): Promise<WorkspaceAnswer> {
  const { path } = work;
  const found = await entriesBelow(sandbox, path);
  const bytes = found.reduce((sum, entry) => sum + entry.bytes, 0);
  if (bytes > LIMITS.archiveBytesMax) {
    const most = LIMITS.archiveBytesMax;
    throw new SandboxError("too_large", `${path || "the workspace"} holds ${bytes} bytes; an archive at most ${most}`);
  }
  const entries = named(sandbox, found, path.slice(0, path.lastIndexOf("/") + 1));
  const archive = work.format === "tar" ? toTar(entries) : toZip(entries);
  const { id, ...put } = await transit.put(archive, { signal: work.signal });
  return { found: "archive", transit: id, ...put };
}

async function entriesBelow(sandbox: Sandbox, path: string): Promise<readonly ScannedEntry[]> {
  const isAbove = (seen: string): boolean => seen.endsWith("/") && path.startsWith(seen);
  const isIn = (seen: string): boolean => path === "" || seen === path || seen.startsWith(`${path}/`);
  const skip = (seen: string): boolean => !isIn(seen) && !isAbove(seen);
  const scanned = await sandbox.scan({ skip, max: LIMITS.archiveEntriesMax });
  const found = scanned.filter((entry) => isIn(entry.path));
  if (found.length === 0 && path !== "") throw new SandboxError("not_found", `there is no ${path} in the workspace`);
  return found;
}

/** Folders first, then the files and symlinks as the sandbox packs them. */
async function* named(
  sandbox: Sandbox,
  found: readonly ScannedEntry[],
  prefix: string,
): AsyncGenerator<TarEntry, void, void> {
  const shortened = (name: string): string => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  for (const { kind, path, mode, modifiedAt } of found) {
    if (kind !== "folder") continue;
    const header: TarHeader = {
      name: `${shortened(path)}/`,
      type: "directory",
      size: 0,
      mode,
      mtime: new Date(modifiedAt),
    };
    yield { header, body: noBody() };
  }
  const paths = found.filter(({ kind }) => kind !== "folder").map(({ path }) => path);
  if (paths.length === 0) return;
  for await (const { header, body } of tarEntries(await sandbox.pack(paths))) {
    const { name, size, mode, mtime, type, linkname } = header;
    yield {
      header: {
        name: shortened(name),
        size,
        ...(mode !== undefined && { mode }),
        ...(mtime !== undefined && { mtime }),
        ...(type !== undefined && { type }),
        ...(linkname !== undefined && { linkname }),
      },
      body,
    };
  }
}

/** Symlinks are kept as zip programs keep them: by their mode, with what they name as content. */
function toZip(entries: AsyncIterable<TarEntry>): Readable {
  const zip = new ZipFile();
  const output = zip.outputStream as PassThrough; // That is what it is; its types only promise less.
  const fail = (error: unknown): void => {
    output.destroy(error instanceof Error ? error : new Error(String(error)));
  };
  zip.on("error", fail);
  const addAll = async (): Promise<void> => {
    for await (const entry of entries) await addToZip(zip, entry, output);
    zip.end();
  };
  addAll().catch(fail);
  return output;
}

async function addToZip(zip: ZipFile, { header, body }: TarEntry, output: PassThrough): Promise<void> {
  const { name, size } = header;
  const mtime = archiveTime("zip", header.mtime ?? new Date());
  const mode = FILE_TYPE | ((header.mode ?? 0o644) & 0o7777);
  try {
    if (header.type === "directory") return zip.addEmptyDirectory(name, { mtime });
    if (header.type === "symlink") {
      return zip.addBuffer(Buffer.from(header.linkname ?? ""), name, { mtime, mode: SYMLINK_TYPE | 0o777 });
    }
    const content = Readable.from(body, { objectMode: false });
    const stop = (): void => {
      content.destroy();
    };
    output.once("close", stop);
    zip.addReadStream(content, name, { mtime, mode, size });
    // One after another: each body must have been read before the next entry is there.
    await finished(content).finally(() => output.off("close", stop));
  } catch (cause) {
    if (output.destroyed || cause instanceof SandboxError) throw cause;
    const words = cause instanceof Error ? cause.message : "unknown";
    throw new SandboxError("failed", `${name} cannot be in a zip (${words}); ask for a tar`, { cause });
  }
}
