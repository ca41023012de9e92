/** Files and renames that are on the disk, not only in the kernel's memory, when the call returns. */
import { closeSync, fsyncSync, openSync, renameSync } from "node:fs";
import path from "node:path";

/** Makes a file's bytes, or a folder's entries, durable. */
export function syncPath(place: string): void {
  const descriptor = openSync(place, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** The same where the folder above may be one that we may not read, as the one of a state folder may: then nothing is promised. */
export function trySyncPath(place: string): void {
  try {
    syncPath(place);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "EACCES" && code !== "EPERM" && code !== "EINVAL" && code !== "EISDIR") throw error;
  }
}

/** Renames within one file system; the new name is durable, and the old one's absence is, too. */
export function renameDurably(from: string, to: string): void {
  renameSync(from, to);
  syncPath(path.dirname(to));
  if (path.dirname(from) !== path.dirname(to)) syncPath(path.dirname(from));
}
