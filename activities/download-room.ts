/** Whether an archive fits among what a workspace holds already, so that none is laid in by half. */
import { LIMITS } from "../contract/limits.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";

export type Kinds = ReadonlyMap<string, "file" | "folder" | "symlink">;

/**
 * Throws SandboxError `failed` when the archive has a folder where a file or a symlink stands, or a file where a folder
 * does. Files are replaced.
 */
export async function checkRoom(sandbox: Sandbox, folder: string, kinds: Kinds): Promise<void> {
  const wanted = new Map(kinds);
  const parts = folder === "" ? [] : folder.split("/");
  for (let length = 1; length <= parts.length; length++) wanted.set(parts.slice(0, length).join("/"), "folder");
  const skip = (path: string): boolean => !wanted.has(path.replace(/\/$/, ""));
  const standing = await sandbox.scan({ skip, max: LIMITS.archiveEntriesMax + parts.length });
  for (const { path, kind } of standing) {
    const isFolder = wanted.get(path) === "folder";
    if (isFolder === (kind === "folder")) continue;
    const words = isFolder ? `a ${kind} is in the place of the folder` : "a folder is in the place of the file";
    throw new SandboxError("failed", `nothing was unpacked: ${words} ${path}`);
  }
}
