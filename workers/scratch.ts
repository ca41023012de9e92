/** A folder for one worker process, which goes with it; what killed ones left behind is swept by the next. */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { isGone } from "./process-name.ts";

export interface Scratch extends AsyncDisposable {
  readonly folder: string;
  /** Removes what dead workers of this host left. */
  sweep(): Promise<void>;
}

/** Names the worker that a folder belongs to. */
const OWNER = "owner";
/** Short, because sockets may lie below the folder, and the path of one has at most a hundred characters. */
const NAME_CHARACTERS = 10;

/** @param id The worker's, as `ownProcessName` gives it. */
export function openScratch(stateDir: string, id: string): Scratch {
  const root = path.join(stateDir, "scratch");
  const host = id.slice(0, id.indexOf("/"));
  const folder = path.join(root, createHash("sha256").update(id).digest("hex").slice(0, NAME_CHARACTERS));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(path.join(folder, OWNER), id);
  return {
    folder,
    async sweep() {
      const dead = readdirSync(root)
        .map((name) => path.join(root, name))
        .filter((one) => isGone(ownerOf(one), host));
      await Promise.all(dead.map(remove));
    },
    [Symbol.asyncDispose]: () => remove(folder),
  };
}

/** Nobody, where another worker is just making or removing its folder: of nobody it is not known that he is gone. */
function ownerOf(folder: string): string {
  try {
    return readFileSync(path.join(folder, OWNER), "utf8");
  } catch {
    return "";
  }
}

function remove(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 20 });
}
