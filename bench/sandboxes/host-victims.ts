/** Sandboxes that are a folder of this host and processes (local, bubblewrap): killed by pid, their folder taken away. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { SandboxId } from "../../contract/ids.ts";
import { describeProcess, processesOf } from "../../test/support/stray-processes.ts";
import { STARTS_FILE } from "./script.ts";
import { type KilledSandbox, linesOf, type SandboxVictims } from "./victims.ts";

/** Of looking again and again for what is still alive. */
const GONE_WITHIN_MS = 5_000;
const LOOKS_IN_VAIN = 3;

export interface HostVictimsOptions {
  /** Where the provider keeps its sandboxes. */
  readonly root: string;
  /** For what is taken away; on the same file system. */
  readonly graveyard: string;
}

export function createHostVictims({ root, graveyard }: HostVictimsOptions): SandboxVictims {
  let killed = 0;
  mkdirSync(graveyard, { recursive: true });

  return {
    description: "folders and processes of this host",
    async list() {
      if (!existsSync(root)) return [];
      return readdirSync(root).filter((name): name is SandboxId => name.startsWith("sbx_"));
    },
    async kill(id) {
      const folder = path.join(root, id);
      const grave = path.join(graveyard, `${++killed}`);
      const from = Date.now();
      try {
        // At once, so that nobody begins anything in it that would be missed below.
        renameSync(folder, grave);
      } catch {
        return undefined;
      }
      await killAll(() => [...processesOf(`${folder}/`), ...processesOf(grave)]);
      return { id, from, until: Date.now(), starts: startsIn(grave) } satisfies KilledSandbox;
    },
    strays: async () => [...processesOf(root), ...processesOf(graveyard)].map(describeProcess),
    [Symbol.asyncDispose]: async () => rmSync(graveyard, { recursive: true, force: true }),
  };
}

/** Until a few looks in a row find nothing: what is starting at this instant is not seen by the first. */
async function killAll(find: () => readonly number[]): Promise<void> {
  const deadline = Date.now() + GONE_WITHIN_MS;
  for (let inVain = 0; inVain < LOOKS_IN_VAIN; ) {
    const pids = find();
    if (Date.now() > deadline) throw new Error(`they do not die: ${pids.map(describeProcess).join("; ")}`);
    inVain = pids.length === 0 ? inVain + 1 : 0;
    for (const pid of pids) killOne(pid);
    await delay(5);
  }
}

function killOne(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}

function startsIn(folder: string): readonly string[] {
  const file = path.join(folder, "workspace", STARTS_FILE);
  return existsSync(file) ? linesOf(readFileSync(file, "utf8")) : [];
}
