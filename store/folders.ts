/** Folders that processes need before anything else. Says in an error why one cannot be made, and never tries for ever. */
import { mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { trySyncPath } from "./durable-file.ts";

/**
 * Makes a folder and those above it; what is there stays as it is. Node's own `recursive` never comes back where a folder
 * takes no others and says so as procfs does (`/proc/x`): it goes up and down between the two, deaf to signals.
 */
export function makeFolders(folder: string, mode = 0o777): void {
  if (madeOne(folder, mode)) return;
  makeFolders(path.dirname(folder), mode);
  // Once more and no more often, but for another process that was faster.
  if (!madeOne(folder, mode)) throw new Error(`${path.dirname(folder)} takes no folders`);
}

/** False when the folder above it is missing. */
function madeOne(folder: string, mode: number): boolean {
  try {
    mkdirSync(folder, { mode });
    // A power cut must not take the folder back, with all that was made durable in it.
    trySyncPath(path.dirname(folder));
    return true;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EEXIST" && statSync(folder).isDirectory()) return true;
    if (code === "ENOENT" && path.dirname(folder) !== folder) return false;
    throw error;
  }
}
