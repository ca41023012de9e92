/** The token of a state folder's API: made once, readable to its owner only, the same for every process that asks. */
import { randomBytes } from "node:crypto";
import { closeSync, fchmodSync, fstatSync, fsyncSync, linkSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { syncPath } from "./durable-file.ts";

const NAME = "token";
/** Says what it is wherever it turns up; `contract/redaction.ts` knows it by this. */
const PREFIX = "perdure_";
const BYTES = 32;
const TOKEN = /^perdure_[A-Za-z0-9_-]{43}$/;
const FILE_BYTES_MAX = 256;

/** The file is there, and cannot be used as it is. The message says what to do. */
export class TokenError extends Error {
  override readonly name = "TokenError";
}

export function tokenFile(stateDir: string): string {
  return path.join(stateDir, NAME);
}

/**
 * The token, made now when there is none. Whoever comes first makes it; all others read the same one.
 * @throws TokenError, or Node's error when the folder cannot be written.
 */
export function makeToken(stateDir: string): string {
  const found = readToken(stateDir);
  if (found !== undefined) return found;
  const file = tokenFile(stateDir);
  const made = `${PREFIX}${randomBytes(BYTES).toString("base64url")}`;
  const own = `${file}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    writeNew(own, `${made}\n`);
    // A link, unlike a rename, never takes the place of what another process has made meanwhile, and is there as a whole.
    linkSync(own, file);
    // Who was told it keeps it: after a power cut there must be no other one.
    syncPath(stateDir);
    return made;
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  } finally {
    rmSync(own, { force: true });
  }
  const others = readToken(stateDir);
  if (others === undefined) throw new TokenError(`the file ${file} was removed while it was read; start again`);
  return others;
}

/**
 * Undefined when there is none yet.
 * @throws TokenError when it is none of ours, or others may read it.
 */
export function readToken(stateDir: string): string | undefined {
  const file = tokenFile(stateDir);
  const descriptor = openOrNone(file);
  if (descriptor === undefined) return undefined;
  try {
    const { mode, uid } = fstatSync(descriptor);
    const isOurs = process.getuid === undefined || process.getuid() === 0 || uid === process.getuid();
    if (!isOurs) throw new TokenError(`the file ${file} belongs to another user; use a state folder of your own`);
    if ((mode & 0o077) !== 0) {
      throw new TokenError(
        `other users may read ${file} (mode ${(mode & 0o777).toString(8)}): remove it, so that the next start makes ` +
          `a new token, or, if nobody can have read it, run: chmod 600 ${file}`,
      );
    }
    const bytes = Buffer.alloc(FILE_BYTES_MAX);
    const text = bytes.toString("latin1", 0, readSync(descriptor, bytes, 0, FILE_BYTES_MAX, 0)).trim();
    if (TOKEN.test(text)) return text;
    throw new TokenError(`the file ${file} holds no token of ours: remove it, and the next start makes a new one`);
  } finally {
    closeSync(descriptor);
  }
}

function openOrNone(file: string): number | undefined {
  try {
    return openSync(file, "r");
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
    throw new TokenError(`the file ${file} cannot be read (${codeOf(error) ?? "unknown"}): it holds the API's token`);
  }
}

function writeNew(file: string, text: string): void {
  const descriptor = openSync(file, "wx", 0o600);
  try {
    fchmodSync(descriptor, 0o600);
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
