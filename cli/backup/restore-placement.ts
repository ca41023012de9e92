/** The last part of a restore: a change of names that can be interrupted anywhere and is completed by whoever comes next. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { renameDurably, syncPath } from "../../store/durable-file.ts";
import { STORE_NAME, TEMPORAL_NAME } from "./manifest.ts";

/** Where a backup is unpacked, below the state directory. */
export const RESTORING = "restoring";
const READY = "ready";

/** Everything that a backup replaces, and what belongs to it: a database goes with its log and with what vouches for it. */
const REPLACED = [
  ...[STORE_NAME, TEMPORAL_NAME].flatMap((name) => [name, `${name}-wal`, `${name}-shm`]),
  `${TEMPORAL_NAME}.ok`,
  "blobs",
];

/** From now on the unpacked backup is the state, however often the change of names is interrupted. */
export function markReady(folder: string): void {
  if (existsSync(path.join(folder, TEMPORAL_NAME)))
    writeFileSync(path.join(folder, `${TEMPORAL_NAME}.ok`), "Restored from a backup.\n", { mode: 0o600, flush: true });
  const aside = `replaced-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  writeFileSync(path.join(folder, READY), aside, { mode: 0o600, flush: true });
  syncPath(folder);
}

/**
 * Completes a restore that was begun: moves the old state aside and the new one into its place. Without one it only
 * removes what a killed restore had unpacked. To be called by the holder of the state directory, before anything is opened.
 * Returns the folder that holds the old state, where there was one.
 */
export function finishRestore(stateDir: string): string | undefined {
  const folder = path.join(stateDir, RESTORING);
  const ready = path.join(folder, READY);
  if (!existsSync(ready)) {
    rmSync(folder, { recursive: true, force: true });
    return undefined;
  }
  const aside = path.join(stateDir, path.basename(readFileSync(ready, "utf8")));
  mkdirSync(aside, { recursive: true, mode: 0o700 });
  for (const name of REPLACED) {
    const moved = path.join(folder, `moved-${name}`);
    // A second time the old one is aside already, and what stands in its place is the restored one.
    if (!existsSync(moved)) {
      if (existsSync(path.join(stateDir, name))) renameDurably(path.join(stateDir, name), path.join(aside, name));
      writeFileSync(moved, "", { flush: true });
      syncPath(folder);
    }
    if (existsSync(path.join(folder, name))) renameDurably(path.join(folder, name), path.join(stateDir, name));
  }
  rmSync(ready); // First: without it the rest of the folder is only something to remove.
  syncPath(folder);
  rmSync(folder, { recursive: true, force: true });
  const hadState = REPLACED.some((name) => existsSync(path.join(aside, name)));
  if (!hadState) rmSync(aside, { recursive: true, force: true });
  return hadState ? aside : undefined;
}
