/** Removing what commands have made: trees of any depth and with any modes, in which somebody may still be busy. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { renameSync, unlinkSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { HeldFolders, placeStats } from "./host-folders.ts";

const run = promisify(execFile);
const TRIES = 5;

/**
 * Removes a folder with all that is in it. By `rm`, which goes down by open folders: a symlink that is put there meanwhile is
 * not followed, and a tree that is deeper than a path can be long is no obstacle.
 */
export async function removeTree(folder: string): Promise<void> {
  for (let left = TRIES; placeStats(folder) !== undefined; left--) {
    try {
      await run("rm", ["-rf", "--", folder], { timeout: 120_000 });
    } catch (thrown) {
      if (left === 1) throw thrown;
      // Folders that their owner may not enter; or a process that ends was still writing.
      await run("chmod", ["-R", "u+rwX", "--", folder]).catch(() => undefined);
      if (left === 2) await rm(folder, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

/** Removes what lies under these parts of a workspace. Folders leave the workspace first, and vanish from `temporary`. */
export async function removeInside(workspace: string, parts: readonly string[], temporary: string): Promise<boolean> {
  using folders = new HeldFolders(workspace);
  const place = folders.place(parts);
  const stats = placeStats(place);
  if (stats === undefined) return false;
  if (stats.isDirectory()) await removeFolder(place, temporary);
  else unlinkSync(place);
  return true;
}

/** Gone from its place at once, then removed. */
export async function removeFolder(place: string, temporary: string): Promise<void> {
  const doomed = path.join(temporary, `.removed-${randomUUID()}`);
  renameSync(place, doomed);
  await removeTree(doomed);
}
