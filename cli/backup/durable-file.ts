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

/** Renames within one file system; the new name is durable, and the old one's absence is, too. */
export function renameDurably(from: string, to: string): void {
  renameSync(from, to);
  syncPath(path.dirname(to));
  if (path.dirname(from) !== path.dirname(to)) syncPath(path.dirname(from));
}
