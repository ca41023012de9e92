/** Removes what commands have made: trees of any depth and with any modes, in which programs may still be writing. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { type PathLike, readdirSync, renameSync, unlinkSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { LIMITS } from "../contract/limits.ts";
import { type Emptied, removeHeld } from "./held-removal.ts";
import { HeldFolders, placeStats } from "./host-folders.ts";
import { SandboxError } from "./provider.ts";

const run = promisify(execFile);
/** Where no open folder has a name that paths can begin with (other than Linux), and nothing is confined. */
const TRIES = 5;
const REMOVED = /^\.removed-/;
const HALF_WRITTEN = /^\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Holds a sandbox's programs still while it works. */
export type Frozen = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * Removes a folder with everything in it. No name is followed twice: see `removeHeld`. The folder's own place must be out of
 * the programs' reach. Throws SandboxError `failed` when programs that keep writing there outlast it.
 */
export async function removeTree(folder: string, frozen?: Frozen): Promise<void> {
  if (process.platform !== "linux") return await removeByProgram(folder);
  const until = Date.now() + LIMITS.removalMs;
  let emptied = await removeHeld(folder, frozen ? Date.now() + LIMITS.removalUnfrozenMs : until);
  if (emptied === "busy" && frozen) emptied = await frozen(() => removeHeld(folder, until));
  if (emptied !== "gone") throw new SandboxError("failed", STILL_THERE[emptied]);
}

const STILL_THERE: Readonly<Record<Exclude<Emptied, "gone">, string>> = {
  busy: "the folder was taken away, but programs of the sandbox keep writing in it; what they leave is removed later. End them first",
  mounted: "something is mounted in the folder; expected folders of one file system. Unmount it first",
};

/** Removes what lies under these parts of a workspace. Folders leave the workspace first, and vanish from `temporary`. */
export async function removeInside(
  workspace: string,
  parts: readonly string[],
  { temporary, frozen }: { readonly temporary: string; readonly frozen?: Frozen | undefined },
): Promise<boolean> {
  using folders = new HeldFolders(workspace);
  const place = folders.place(parts);
  const stats = placeStats(place);
  if (stats === undefined) return false;
  if (stats.isDirectory()) await removeFolder(place, temporary, frozen);
  else unlinkSync(place);
  return true;
}

/** Gone from its place at once, then removed. */
export async function removeFolder(place: PathLike, temporary: string, frozen?: Frozen): Promise<void> {
  const doomed = path.join(temporary, `.removed-${randomUUID()}`);
  renameSync(place, doomed);
  await removeTree(doomed, frozen);
}

/** Removes what busy programs and killed workers have left in a folder of temporary files. Tells what it could not remove. */
export async function tidyTemporary(temporary: string, frozen?: Frozen): Promise<readonly string[]> {
  const left: string[] = [];
  const oldest = Date.now() - LIMITS.temporaryKeptMs;
  for (const name of namesIn(temporary)) {
    const place = path.join(temporary, name);
    const stats = placeStats(place);
    if (stats === undefined) continue;
    if (REMOVED.test(name) && stats.isDirectory()) await removeTree(place, frozen).catch(() => left.push(name));
    else if (HALF_WRITTEN.test(name) && !stats.isDirectory() && stats.mtimeMs < oldest) unlinkSync(place);
  }
  return left;
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // Its sandbox has gone meanwhile.
  }
}

async function removeByProgram(folder: string): Promise<void> {
  for (let left = TRIES; placeStats(folder) !== undefined; left--) {
    try {
      await run("rm", ["-rf", "--", folder], { timeout: LIMITS.removalMs });
    } catch (thrown) {
      if (left === 1) throw thrown;
      // Folders that their owner may not enter; or a process that ends was still writing.
      await run("chmod", ["-R", "u+rwX", "--", folder]).catch(() => undefined);
    }
  }
}
