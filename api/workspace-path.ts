/** The path of a file in a session's workspace, from the URL as it was sent: decoded once, and never out of the workspace. */
import { LIMITS } from "../contract/limits.ts";
import { invalidField } from "./input.ts";

const PREFIX = /^\/v1\/sessions\/[^/?]+\/files(?:\/([^?]*))?(?:\?.*)?$/;

/** The relative path; "" is the workspace itself. Throws INVALID_INPUT. */
export function workspacePath(url: string): string {
  const raw = PREFIX.exec(url)?.[1] ?? "";
  const path = decoded(raw).replace(/\/$/, "");
  if (path === "" && !raw.startsWith("/")) return "";
  const fault = pathFault(path);
  if (fault !== undefined) throw refused(fault);
  return path;
}

/** What is wrong with a path that should lie in the workspace; undefined when nothing is. */
export function pathFault(path: string): string | undefined {
  if (path.length > LIMITS.pathCharactersMax) return `expected at most ${LIMITS.pathCharactersMax} characters`;
  if (path.includes("\0")) return "expected a path without a NUL character";
  if (path.includes("\\")) return "expected / between folders, not a backslash";
  const parts = path.split("/");
  if (parts.includes("..")) return "expected a path inside the workspace, without ..";
  if (parts.some((part) => part === "." || part === "")) {
    return "expected a relative path, without empty parts or single dots";
  }
  return undefined;
}

function decoded(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    throw refused("expected percent-encoded UTF-8");
  }
}

function refused(message: string): Error {
  return invalidField("/path/path", message);
}
