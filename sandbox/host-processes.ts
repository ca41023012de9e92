/**
 * Ends processes of this host that belong to a sandbox, however they have left its commands' groups. The kernel gives numbers
 * of processes and groups again, so each is looked at right before it is killed: only what bears a mark of ours is.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { LIMITS } from "../contract/limits.ts";
import { livingGroups, ownsGroup, processes, processState, readClaim } from "./call-folder.ts";
import { isInside } from "./paths.ts";

const KILL_ROUND_MS = 10;
/** Of the descriptors of one process, when it is looked for a spool among them. */
const DESCRIPTORS_MAX = 64;

/** Ends all commands whose call folders lie here. `folders`: the sandbox's folder, under each name that it has had. */
export function killCommands(calls: string, folders: readonly string[]): void {
  for (const name of existsSync(calls) ? readdirSync(calls) : []) {
    const claim = readClaim(path.join(calls, name));
    if (claim?.process === undefined || !isSignalable(-claim.process.pid)) continue;
    const isOurs = (pid: number): boolean => isMarked(pid, ["PERDURE_CALL", name]) || isInFolder(pid, folders);
    if (ownsGroup(claim, livingGroups(), isOurs)) signalKill(-claim.process.pid);
  }
}

/** Ends those that still have this variable in the environment with which they were started. */
export function killByVariable(name: string, value: string): void {
  for (const pid of processes()) if (pid !== process.pid && isMarked(pid, [name, value])) signalKill(pid);
}

/** Ends those that see one of these folders mounted at that place, also those that they start meanwhile, for a bounded time. */
export async function killByMount(folders: readonly string[], place: string): Promise<void> {
  for (let left = LIMITS.killRounds; left > 0; left--) {
    let found = 0;
    for (const pid of processes()) {
      const mounts = readProcess(pid, "mountinfo");
      if (!mounts.includes(` ${place} `) || !folders.some((folder) => isMountedAt(mounts, folder, place))) continue;
      signalKill(pid);
      found += 1;
    }
    if (found === 0) return;
    await setTimeout(KILL_ROUND_MS);
  }
}

/**
 * Whether a process with these mounts (its `mountinfo`) sees the folder of a sandbox at that place. The fourth field is the folder, as its own file system calls it, and the fifth is the place. The file system may begin
 * anywhere above the sandbox's own folder, but not in it: somebody else's `/workspace` is none of ours.
 */
export function isMountedAt(mounts: string, folder: string, place: string): boolean {
  const least = `/${path.basename(path.dirname(folder))}/${path.basename(folder)}`;
  return mounts.split("\n").some((line) => {
    const [, , , root = "", at] = line.split(" ");
    const shown = unescaped(root);
    return at === place && shown.endsWith(least) && folder.endsWith(shown);
  });
}

/** Blanks and the like are written as octal numbers there. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** A session in the sense of setsid: who led it, and the variable that all that it started has. */
export interface MarkedSession {
  readonly leader: number;
  /** What `processState` said of the leader when it had begun. */
  readonly startedAt: string | undefined;
  readonly mark: readonly [name: string, value: string];
}

/** Ends such a session and all its groups, as a terminal's shell leads one. */
export function killSession({ leader, startedAt, mark }: MarkedSession): void {
  const isLeader = (): boolean => startedAt !== undefined && processState(leader)?.startedAt === startedAt;
  for (const pid of processes()) {
    if (processState(pid)?.session === leader && (isLeader() || isMarked(pid, mark))) signalKill(pid);
  }
  if (isLeader()) signalKill(-leader);
}

export function signalKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}

function isSignalable(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function isMarked(pid: number, [name, value]: readonly [name: string, value: string]): boolean {
  return `\0${readProcess(pid, "environ")}`.includes(`\0${name}=${Buffer.from(value).toString("latin1")}\0`);
}

/** Whether it works in the folder or has a file of it open, such as the spools of its command. */
function isInFolder(pid: number, folders: readonly string[]): boolean {
  const names = [
    "cwd",
    ...namesOf(pid, "fd")
      .slice(0, DESCRIPTORS_MAX)
      .map((name) => `fd/${name}`),
  ];
  return names.some((name) => {
    const target = linkOf(pid, name);
    return target !== undefined && folders.some((folder) => isInside(folder, target));
  });
}

function namesOf(pid: number, name: string): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/${name}`);
  } catch {
    return [];
  }
}

function linkOf(pid: number, name: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/${name}`);
  } catch {
    return undefined;
  }
}

function readProcess(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    return ""; // Another user's, or gone.
  }
}
