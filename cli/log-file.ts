/** The log file of one supervised process: appended to, kept under a size, and quoted when the process keeps dying. */
import { closeSync, copyFileSync, fstatSync, openSync, readSync, statSync, truncateSync } from "node:fs";
import { LIMITS } from "../contract/limits.ts";

const TAIL_BYTES = 4_096;
const TAIL_LINES = 10;

/**
 * Keeps a log under its limit: what is there moves to `<file>.1` and the file begins anew. Copy and cut, because the
 * process has the file open for appending; the few lines it writes between the two are lost.
 */
export function boundLog(file: string): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= LIMITS.logFileBytesMax) return;
  copyFileSync(file, `${file}.1`);
  truncateSync(file, 0);
}

/** The last lines of a log, or a word that there are none. */
export function logTail(file: string): string {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch {
    return "(no log)";
  }
  try {
    const { size } = fstatSync(descriptor);
    const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(descriptor, bytes, 0, bytes.length, size - bytes.length);
    return bytes.toString("utf8").trimEnd().split("\n").slice(-TAIL_LINES).join("\n") || "(empty)";
  } finally {
    closeSync(descriptor);
  }
}
