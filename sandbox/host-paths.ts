/** Paths of a sandbox that sees its folders under other names than the host does: they are followed as they are inside. */
import { lstatSync, readlinkSync } from "node:fs";
import path from "node:path";
import { bytesOfText, textOfName } from "./file-names.ts";
import { HeldFolders } from "./host-folders.ts";
import { isInside } from "./paths.ts";
import { SandboxError } from "./provider.ts";

const PATH_BYTES_MAX = 4096;
/** As many as Linux itself follows. */
const LINKS_MAX = 40;

/** One folder: on the host (a real path), and as it is called inside. */
export interface ShownFolder {
  readonly host: string;
  readonly inside: string;
}

/**
 * The host's path of what a path inside names, whether something is there or not. Symlinks are followed as inside: their
 * absolute targets are names of there. Throws SandboxError: `denied` when it leads out of the folder, `not_found` when a file
 * is where a folder is needed. Whoever opens it must not follow symlinks: they may have changed since.
 */
export function resolveShown(folder: ShownFolder, given: string): string {
  const wanted = path.posix.resolve(folder.inside, given);
  const isTooLong = bytesOfText(given).length > PATH_BYTES_MAX;
  if (given.includes("\0") || isTooLong || !isInside(folder.inside, wanted)) throw leadsOut(given);
  using held = openHeld(folder.host);
  let pending = wanted.split("/").filter(Boolean);
  let done: readonly string[] = [];
  for (let links = 0; pending.length > 0; ) {
    const [part = "", ...rest] = pending;
    pending = rest;
    if (part === "..") done = done.slice(0, -1);
    if (part === "." || part === "..") continue;
    done = [...done, part];
    const target = linkTarget({ folder, held }, done, { given, isLast: rest.length === 0 });
    if (target === undefined) continue;
    links += 1;
    if (links > LINKS_MAX) throw leadsOut(given);
    done = target.startsWith("/") ? [] : done.slice(0, -1);
    pending = [...target.split("/").filter(Boolean), ...rest];
  }
  const place = hostPath(folder, done);
  if (place === undefined) throw leadsOut(given);
  return place;
}

function hostPath({ host, inside }: ShownFolder, parts: readonly string[]): string | undefined {
  const shown = `/${parts.join("/")}`;
  return isInside(inside, shown) ? path.join(host, path.posix.relative(inside, shown)) : undefined;
}

/** undefined: it is gone, which whoever uses the path finds out. */
function openHeld(root: string): HeldFolders | undefined {
  try {
    return new HeldFolders(root);
  } catch {
    return undefined;
  }
}

/**
 * Where it points when it is a symlink. Of what lies outside of the folder nothing is known, nor needed: it is denied at the
 * end. Looked at by held folders: a folder on the way may be swapped for a symlink to the host's at any instant.
 */
function linkTarget(
  { folder, held }: { readonly folder: ShownFolder; readonly held: HeldFolders | undefined },
  parts: readonly string[],
  { given, isLast }: { readonly given: string; readonly isLast: boolean },
): string | undefined {
  const below = hostPath(folder, parts);
  const names = below === undefined ? [] : path.relative(folder.host, below).split(path.sep).filter(Boolean);
  if (names.length === 0 || held === undefined) return undefined;
  try {
    const place = held.place(names);
    const stats = lstatSync(place);
    if (stats.isSymbolicLink()) return textOfName(readlinkSync(place, { encoding: "buffer" }));
    if (stats.isDirectory() || isLast) return undefined;
  } catch (thrown) {
    if (thrown instanceof SandboxError) throw thrown;
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EINVAL") return undefined;
    throw new SandboxError("denied", `${given} may not be accessed (${code})`, { cause: thrown });
  }
  throw new SandboxError("not_found", `${given}: a part of the path is not a folder`);
}

function leadsOut(given: string): SandboxError {
  const shown = given.length > 200 ? `${given.slice(0, 200)}…` : given;
  return new SandboxError("denied", `the path ${JSON.stringify(shown)} leads out of the workspace`);
}
