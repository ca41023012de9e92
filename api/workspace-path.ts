/** The path of a file in a session's workspace, from the URL as it was sent: decoded once, and never out of the workspace. */
import { invalidField } from "./input.ts";

const PREFIX = /^\/v1\/sessions\/[^/?]+\/files(?:\/([^?]*))?(?:\?.*)?$/;
const PATH_CHARACTERS_MAX = 4_096;

/** The relative path; "" is the workspace itself. Throws INVALID_INPUT. */
export function workspacePath(url: string): string {
  const raw = PREFIX.exec(url)?.[1] ?? "";
  const path = decoded(raw).replace(/\/$/, "");
  if (path === "" && !raw.startsWith("/")) return "";
  if (path.length > PATH_CHARACTERS_MAX) throw refused(`expected at most ${PATH_CHARACTERS_MAX} characters`);
  if (path.includes("\0")) throw refused("expected a path without a NUL character");
  if (path.includes("\\")) throw refused("expected / between folders, not a backslash");
  for (const part of path.split("/")) {
    if (part === "..") throw refused("expected a path inside the workspace, without ..");
    if (part === "." || part === "") throw refused("expected a relative path, without empty parts or single dots");
  }
  return path;
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
