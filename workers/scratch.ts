/** A folder for one worker process, which goes with it; what killed ones left behind is swept by the next. */
import { mkdirSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { isGone } from "./process-name.ts";

export interface Scratch extends AsyncDisposable {
  /** Empty at first. */
  readonly folder: string;
  /** Removes what dead workers of this host left. */
  sweep(): Promise<void>;
}

/** @param id The worker's, as `ownProcessName` gives it. */
export function openScratch(stateDir: string, id: string): Scratch {
  const root = path.join(stateDir, "scratch");
  const folder = path.join(root, encodeURIComponent(id));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return {
    folder,
    async sweep() {
      const dead = readdirSync(root).filter((name) => isGone(decodeURIComponent(name)));
      await Promise.all(dead.map((name) => remove(path.join(root, name))));
    },
    [Symbol.asyncDispose]: () => remove(folder),
  };
}

function remove(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 20 });
}
