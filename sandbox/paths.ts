/** Path containment: a path is inside when its real path is, symlinks in every part of it included. */
import { readlinkSync, realpathSync } from "node:fs";
import path from "node:path";
import { bytesOfText, nameOfText, textOfName } from "./file-names.ts";
import { SandboxError } from "./provider.ts";

const PATH_BYTES_MAX = 4096;
/** As many as Linux itself follows. */
const LINKS_MAX = 40;

/**
 * The real path that a path of the sandbox names, whether something is there or not: what is missing is appended to the
 * real path of what exists, and a symlink to nowhere is followed to where a write would go. `root` must be a real path.
 * Throws SandboxError: `denied` when that is not inside `root`, `not_found` when a file is where a folder is needed.
 */
export function resolveInside(root: string, given: string): string {
  if (given.includes("\0")) throw new SandboxError("denied", "the path holds a NUL byte");
  if (bytesOfText(given).length > PATH_BYTES_MAX) {
    throw new SandboxError("denied", `the path is too long: expected at most ${PATH_BYTES_MAX} bytes`);
  }
  const wanted = path.resolve(root, given);
  if (!isInside(root, wanted)) throw leadsOut(given);
  const real = realOrPlanned(wanted, given, { links: 0 });
  if (!isInside(root, real)) throw leadsOut(given);
  return real;
}

/** Whether `target` is `root` or below it. Both must be absolute and normalized. */
export function isInside(root: string, target: string): boolean {
  return target === root || target.startsWith(root.endsWith(path.sep) ? root : root + path.sep);
}

/** A name for an open folder that nobody can swap for another meanwhile; undefined where the system has none. */
export function descriptorPath(descriptor: number): string | undefined {
  return process.platform === "linux" ? `/proc/self/fd/${descriptor}` : undefined;
}

function leadsOut(given: string): SandboxError {
  const shown = given.length > 200 ? `${given.slice(0, 200)}…` : given;
  return new SandboxError("denied", `the path ${JSON.stringify(shown)} leads out of the workspace`);
}

function realOrPlanned(wanted: string, given: string, followed: { links: number }): string {
  try {
    return textOfName(realpathSync.native(nameOfText(wanted), { encoding: "buffer" }));
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    if (code === "ENOTDIR") throw new SandboxError("not_found", `${given}: a part of the path is not a folder`);
    if (code !== "ENOENT")
      throw new SandboxError("denied", `${given} may not be accessed (${code})`, { cause: thrown });
  }
  const parent = path.dirname(wanted);
  if (parent === wanted) return wanted;
  const realParent = realOrPlanned(parent, given, followed);
  const target = linkTarget(path.join(realParent, path.basename(wanted)));
  if (target === undefined) return path.join(realParent, path.basename(wanted));
  followed.links += 1;
  if (followed.links > LINKS_MAX) throw leadsOut(given);
  return realOrPlanned(path.resolve(realParent, target), given, followed);
}

function linkTarget(file: string): string | undefined {
  try {
    return textOfName(readlinkSync(nameOfText(file), { encoding: "buffer" }));
  } catch {
    return undefined; // Not a symlink, or not there.
  }
}
