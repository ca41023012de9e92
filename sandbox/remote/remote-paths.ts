/** Paths of a remote sandbox: what can be decided about them without asking it. Symlinks are looked at inside. */
import path from "node:path";
import { bytesOfText, lineOfText } from "../file-names.ts";
import { SandboxError } from "../provider.ts";
import { shellLineWord } from "./shell-word.ts";

const PATH_BYTES_MAX = 4096;
const NAME_BYTES_MAX = 255;

export interface RemoteFolders {
  readonly workspace: string;
  /** Holds `calls` and `tmp`. */
  readonly state: string;
}

/** The absolute path that is meant; throws SandboxError `denied` when no path of the workspace can be. */
export function absoluteInside(workspace: string, given: string): string {
  if (given.includes("\0")) throw new SandboxError("denied", "the path holds a NUL byte");
  if (bytesOfText(given).length > PATH_BYTES_MAX) {
    throw new SandboxError("denied", `the path is too long: expected at most ${PATH_BYTES_MAX} bytes`);
  }
  const absolute = path.posix.resolve(workspace, given);
  if (absolute !== workspace && !absolute.startsWith(`${workspace}/`)) {
    throw new SandboxError("denied", `the path ${JSON.stringify(given.slice(0, 200))} leads out of the workspace`);
  }
  if (absolute.split("/").some((name) => bytesOfText(name).length > NAME_BYTES_MAX)) {
    throw new SandboxError("denied", "the path has a name that is too long");
  }
  return absolute;
}

/** Whether it is the absolute path of a command's spool. */
export function isSpool({ state }: RemoteFolders, given: string): boolean {
  const calls = `${state}/calls/`;
  return given.startsWith(calls) && /^call_[\w-]{1,64}\/(stdout|stderr)$/.test(given.slice(calls.length));
}

/** Relative to the workspace, as a word for the shell; throws `denied` for what is no plain relative path. */
export function plainRelative(given: string): string {
  const normal = path.posix.normalize(given).replace(/\/$/, "");
  const isPlain = given !== "" && !given.includes("\0") && !normal.startsWith("/") && normal !== ".";
  if (isPlain && normal !== ".." && !normal.startsWith("../")) return normal;
  throw new SandboxError("denied", `${JSON.stringify(given.slice(0, 200))} is not a path inside the workspace`);
}

/** Paths as they are inside; see `textOfName`. */
export function pathWords(...paths: readonly string[]): string {
  return words(...paths.map(lineOfText));
}

export function words(...values: readonly (string | number)[]): string {
  return values.map((value) => (typeof value === "number" ? String(value) : shellLineWord(value))).join(" ");
}
