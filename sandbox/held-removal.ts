/**
 * Empties a folder by open descriptors only (Linux): every name is looked up in a folder that is held open, so a symlink that
 * a program swaps in meanwhile is removed and never followed.
 */
import { closeSync, constants, fchmodSync, fstatSync, openSync } from "node:fs";
import { chmod, opendir, rename, rmdir, unlink } from "node:fs/promises";
import { codeOf } from "./host-errors.ts";

/** Not among Node's constants. Such a descriptor needs no permission on the folder. */
const O_PATH = 0o10000000;
const FOLDER = constants.O_DIRECTORY | constants.O_NOFOLLOW;
const OWNER_MAY_ALL = 0o700;
/** Names of one folder that are handled before it is read again. */
const BATCH = 256;
const AT_ONCE = 16;
/** Folders held open at once. What lies deeper is moved up first, so depth costs no descriptors. */
const HELD_MAX = 32;
/** How often a folder may be found empty and have a file again a moment later, before it is taken for a busy one. */
const BUSY_TRIES = 20;

/** Why a folder is still there. */
export type Emptied = "gone" | "busy" | "mounted";

interface Walk {
  readonly root: number;
  readonly device: number;
  readonly until: number;
  moved: number;
}

/** Removes a folder whose own place no program can reach. `until`: when to give up, as Date.now() tells it. */
export async function removeHeld(folder: string, until: number): Promise<Emptied> {
  const root = await openMade(folder);
  if (root === undefined) {
    await isUnlinked(folder);
    return "gone";
  }
  try {
    const walk: Walk = { root, device: fstatSync(root).dev, until, moved: 0 };
    for (let tries = BUSY_TRIES; tries > 0; tries--) {
      const emptied = await empty(walk, root, 0);
      if (emptied !== "gone") return emptied;
      if (await isRemoved(folder)) return "gone";
    }
    return "busy";
  } finally {
    closeSync(root);
  }
}

/** `gone`: nothing was in it at the last look. */
async function empty(walk: Walk, descriptor: number, depth: number): Promise<Emptied> {
  for (;;) {
    const names = await someNames(descriptor);
    if (names.length === 0) return "gone";
    if (Date.now() > walk.until) return "busy";
    const folders: Buffer[] = [];
    for (let from = 0; from < names.length; from += AT_ONCE) {
      const some = names.slice(from, from + AT_ONCE);
      await Promise.all(
        some.map(async ({ name, isFolder }) => {
          const place = at(descriptor, name);
          const isGone = isFolder ? await isRemoved(place) : await isUnlinked(place);
          if (!isGone) folders.push(name);
        }),
      );
    }
    for (const name of folders) {
      const emptied = await removeBelow(walk, descriptor, { name, depth });
      if (emptied !== "gone") return emptied;
    }
  }
}

async function removeBelow(
  walk: Walk,
  parent: number,
  { name, depth }: { readonly name: Buffer; readonly depth: number },
): Promise<Emptied> {
  const place = at(parent, name);
  if (depth >= HELD_MAX) {
    // To move a folder its owner must be allowed to write in it. Below the root it is a later batch's.
    const held = await openMade(place);
    if (held !== undefined) closeSync(held);
    const moved = at(walk.root, Buffer.from(`.deep-${walk.until}-${walk.moved++}`));
    await rename(place, moved).catch(ignoring("ENOENT", "ENOTEMPTY", "EEXIST", "ENOTDIR"));
    return Date.now() > walk.until ? "busy" : "gone";
  }
  for (let tries = BUSY_TRIES; tries > 0; tries--) {
    const held = await openMade(place);
    if (held !== undefined) {
      try {
        if (fstatSync(held).dev !== walk.device) return "mounted";
        const emptied = await empty(walk, held, depth + 1);
        if (emptied !== "gone") return emptied;
      } finally {
        closeSync(held);
      }
      if (await isRemoved(place)) return "gone";
    } else if (await isUnlinked(place)) return "gone"; // It was swapped for something else, or is gone.
  }
  return "busy";
}

async function someNames(
  descriptor: number,
): Promise<readonly { readonly name: Buffer; readonly isFolder: boolean }[]> {
  const names: { name: Buffer; isFolder: boolean }[] = [];
  // Its type says text; with this encoding the names are bytes, whatever they are.
  const folder = await opendir(`/proc/self/fd/${descriptor}/.`, { encoding: "buffer" as "utf8", bufferSize: BATCH });
  try {
    for (let entry = await folder.read(); entry !== null; entry = await folder.read()) {
      names.push({ name: Buffer.from(entry.name), isFolder: entry.isDirectory() });
      if (names.length >= BATCH) break;
    }
  } finally {
    await folder.close();
  }
  return names;
}

/** A folder that may be read and written; undefined: there is none under this name. */
async function openMade(place: Buffer | string): Promise<number | undefined> {
  const held = openFolder(place) ?? (await opened(place));
  if (held === undefined) return undefined;
  const { mode } = fstatSync(held);
  if ((mode & OWNER_MAY_ALL) !== OWNER_MAY_ALL) fchmodSync(held, OWNER_MAY_ALL);
  return held;
}

/** One that its owner may not enter: the mode is changed by a descriptor as well, for a name could lead elsewhere by now. */
async function opened(place: Buffer | string): Promise<number | undefined> {
  let named: number;
  try {
    named = openSync(place, O_PATH | FOLDER);
  } catch (thrown) {
    return ignoring("ENOENT", "ENOTDIR", "ELOOP")(thrown);
  }
  try {
    await chmod(`/proc/self/fd/${named}`, OWNER_MAY_ALL);
    return openSync(`/proc/self/fd/${named}/.`, constants.O_RDONLY | FOLDER);
  } finally {
    closeSync(named);
  }
}

function openFolder(place: Buffer | string): number | undefined {
  try {
    return openSync(place, constants.O_RDONLY | FOLDER);
  } catch (thrown) {
    return ignoring("ENOENT", "ENOTDIR", "ELOOP", "EACCES")(thrown);
  }
}

/** false: it is a folder. */
async function isUnlinked(place: Buffer | string): Promise<boolean> {
  try {
    await unlink(place);
    return true;
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return true;
    if (codeOf(thrown) === "EISDIR" || codeOf(thrown) === "EPERM") return false;
    throw thrown;
  }
}

/** false: something is in it again, or it is no folder any more. */
async function isRemoved(place: Buffer | string): Promise<boolean> {
  try {
    await rmdir(place);
    return true;
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return true;
    if (["ENOTEMPTY", "EEXIST", "ENOTDIR", "EACCES"].includes(codeOf(thrown) ?? "")) return false;
    throw thrown;
  }
}

function at(descriptor: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${descriptor}/`), name]);
}

function ignoring(...codes: readonly string[]): (thrown: unknown) => undefined {
  return (thrown) => {
    if (!codes.includes(codeOf(thrown) ?? "")) throw thrown;
  };
}
