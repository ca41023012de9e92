/** Ends processes of this host that belong to a sandbox, however they have left its commands' groups. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { isGroupAlive, livingGroups, processes, readClaim } from "./call-folder.ts";

/** Ends all commands whose call folders lie here. */
export function killCommands(calls: string): void {
  const groups = livingGroups();
  for (const name of existsSync(calls) ? readdirSync(calls) : []) {
    const claim = readClaim(path.join(calls, name));
    if (claim?.process !== undefined && isGroupAlive(claim, groups)) signalKill(-claim.process.pid);
  }
}

/** Ends those that still have this variable in the environment with which they were started. */
export function killByVariable(name: string, value: string): void {
  for (const pid of processes()) {
    if (pid !== process.pid && `\0${readProcess(pid, "environ")}`.includes(`\0${name}=${value}\0`)) signalKill(pid);
  }
}

/** Ends those that see one of these folders mounted at that place, and tells how many there were. */
export function killByMount(folders: readonly string[], place: string): number {
  const found = processes().filter((pid) => {
    const mounts = readProcess(pid, "mountinfo");
    return mounts.includes(` ${place} `) && folders.some((folder) => isMounted(mounts, folder, place));
  });
  for (const pid of found) signalKill(pid);
  return found.length;
}

/** The fourth field is the folder, as its own file system calls it, and the fifth is the place. */
function isMounted(mounts: string, folder: string, place: string): boolean {
  return mounts.split("\n").some((line) => {
    const [, , , root, at] = line.split(" ");
    return at === place && root !== undefined && root !== "/" && folder.endsWith(unescaped(root));
  });
}

/** Blanks and the like are written as octal numbers there. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** Ends a session (in the sense of setsid) and all its groups, as a terminal's shell leads one. */
export function killSession(leader: number): void {
  for (const pid of processes()) {
    const stat = readProcess(pid, "stat");
    if (Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3]) === leader) signalKill(pid);
  }
  signalKill(-leader);
}

export function signalKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}

function readProcess(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    return ""; // Another user's, or gone.
  }
}
