/** Looks through a workspace on this host for a snapshot: names, sizes, modes, and what changes when a file does. */
import { lstatSync, readdirSync, readlinkSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { textOfName } from "./file-names.ts";
import { HeldFolders, isTooDeep } from "./host-folders.ts";
import type { ScannedEntry } from "./provider.ts";
import { SandboxError } from "./provider.ts";

/** How long the walk keeps everybody else waiting at once. */
const TURN_MS = 8;
const MILLION = 1_000_000n;

/**
 * See `Sandbox.scan`. Sockets, devices and pipes are not kept; a folder that may not be read is kept without what is in it. What is
 * so deep that it cannot be named is left out: no restore could lay it, and a command makes such folders without end.
 */
export async function scanWorkspace(
  workspace: string,
  { skip, max }: { readonly skip: (path: string) => boolean; readonly max: number },
): Promise<readonly ScannedEntry[]> {
  using folders = new HeldFolders(workspace);
  const entries: ScannedEntry[] = [];
  let turnEnds = Date.now() + TURN_MS;
  const look = async (parts: readonly string[]): Promise<void> => {
    for (const name of namesIn(folders, parts)) {
      if (Date.now() >= turnEnds) {
        await setImmediate();
        turnEnds = Date.now() + TURN_MS;
      }
      const inside = [...parts, name];
      if (isTooDeep(inside.join("/"))) continue;
      const entry = entryAt(folders, inside);
      if (entry === undefined || skip(entry.kind === "folder" ? `${entry.path}/` : entry.path)) continue;
      if (entries.length >= max) throw new SandboxError("too_large", `the workspace has more than ${max} files`);
      entries.push(entry);
      if (entry.kind === "folder") await look(inside);
    }
  };
  await look([]);
  return entries;
}

function namesIn(folders: HeldFolders, parts: readonly string[]): readonly string[] {
  try {
    return readdirSync(folders.folder(parts), { encoding: "buffer" }).map(textOfName).sort();
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    // Gone meanwhile, swapped for something else, or not to be read by us.
    const isPassing = parts.length > 0 && ["ENOENT", "ENOTDIR", "EACCES", "ELOOP"].includes(String(code));
    if (isPassing || (thrown instanceof SandboxError && thrown.kind === "denied")) return [];
    throw thrown;
  }
}

function entryAt(folders: HeldFolders, parts: readonly string[]): ScannedEntry | undefined {
  try {
    const place = folders.place(parts);
    const stats = lstatSync(place, { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return undefined;
    const kind = stats.isFile() ? "file" : stats.isDirectory() ? "folder" : "symlink";
    if (kind === "symlink" && !stats.isSymbolicLink()) return undefined;
    return {
      path: parts.join("/"),
      kind,
      bytes: kind === "file" ? Number(stats.size) : 0,
      mode: Number(stats.mode & 0o7777n),
      modifiedAt: Number(stats.mtimeNs / MILLION) + Number(stats.mtimeNs % MILLION) / 1e6,
      version: `${stats.ino}-${stats.ctimeNs}-${stats.size}`,
      ...(kind === "symlink" && { target: textOfName(readlinkSync(place, { encoding: "buffer" })) }),
    };
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    if (code === "ENOENT" || code === "EINVAL" || code === "ENOTDIR") return undefined; // Removed or replaced meanwhile.
    if (thrown instanceof SandboxError && thrown.kind === "denied") return undefined;
    throw thrown;
  }
}
