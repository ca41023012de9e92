/** What the supervisor wrote about a command: its claim, its end, and whether its processes still live. Only reads. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { CommandEnd } from "./provider.ts";

/** Who runs a command. `process` is undefined when a kill took the claim, or when its writer died while writing it. */
export interface Claim {
  readonly process: { readonly pid: number; readonly startedAt: string; readonly boot: string } | undefined;
  readonly timeoutMs: number;
  readonly claimedAt: number;
}

/** Who won the start of the call, or undefined while nobody has. */
export function readClaim(folder: string): Claim | undefined {
  const file = path.join(folder, "go");
  const words = readRecord(file);
  if (words === undefined) return undefined;
  const [pid, startedAt = "-", boot = "-", timeoutMs] = words;
  const known = Number(pid) > 1;
  return {
    process: known ? { pid: Number(pid), startedAt, boot } : undefined,
    timeoutMs: Number(timeoutMs) || 0,
    claimedAt: statSync(file).mtimeMs,
  };
}

/** How the command ended, or undefined when no whole record is there. */
export function readEnd(folder: string): CommandEnd | undefined {
  const file = path.join(folder, "exit");
  const words = readRecord(file);
  if (words === undefined || words.length === 0) return undefined;
  const [ended, code] = words;
  const durationMs = Math.max(0, Math.round(statSync(file).mtimeMs - statSync(path.join(folder, "go")).mtimeMs));
  if (ended === "killed" || ended === "timed_out") return { ended, durationMs };
  const exitCode = Number(code);
  const signal = exitCode > 128 ? signalName(exitCode - 128) : undefined;
  return signal === undefined ? { ended: "exited", exitCode, durationMs } : { ended: "signalled", signal, durationMs };
}

/** Whether the command's parent, which writes its end, still runs. */
export function isWatched(claim: Claim): boolean {
  if (claim.process === undefined) return false;
  const { pid, startedAt, boot } = claim.process;
  if (startedAt === "-") return isSignalable(pid);
  const now = processState(pid);
  return now !== undefined && now.state !== "Z" && now.startedAt === startedAt && bootName() === boot;
}

/**
 * Whether a process of the command's group still runs. A group keeps its number while it has a member, so the number is
 * ours as long as its leader is either the process that claimed the call or gone. `groups` spares a look at all processes
 * for each of many calls.
 */
export function isGroupAlive(claim: Claim, groups?: ReadonlySet<number>): boolean {
  if (claim.process === undefined) return false;
  const { pid, startedAt, boot } = claim.process;
  if (!isSignalable(-pid)) return false;
  if (startedAt === "-") return true;
  const leader = processState(pid);
  if (bootName() !== boot || (leader !== undefined && leader.startedAt !== startedAt)) return false;
  return (leader !== undefined && leader.state !== "Z") || (groups ?? livingGroups()).has(pid);
}

/** The process groups that have a member which is not a zombie: not every first process of a container reaps. */
export function livingGroups(): ReadonlySet<number> {
  const groups = new Set<number>();
  for (const pid of processes()) {
    const member = processState(pid);
    if (member !== undefined && member.state !== "Z") groups.add(member.group);
  }
  return groups;
}

/** Ids of all processes; none where the system has no /proc. */
export function processes(): readonly number[] {
  try {
    return readdirSync("/proc").map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

interface ProcessState {
  readonly state: string;
  readonly group: number;
  readonly startedAt: string;
}

function processState(pid: number): ProcessState | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  // The second field is the program's name in parentheses, which may hold anything.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined) return undefined;
  return { state: fields[0] ?? "", group: Number(fields[2]), startedAt: fields[19] ?? "" };
}

/** The words of a record, [] when its writer has not finished it (its last word is a dot), undefined when there is none. */
function readRecord(file: string): readonly string[] | undefined {
  const text = readText(file);
  if (text === undefined) return undefined;
  return text.endsWith(" .\n") ? text.slice(0, -3).split(" ") : [];
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function bootName(): string {
  return readText("/proc/sys/kernel/random/boot_id")?.trim() ?? "-";
}

function isSignalable(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (thrown) {
    return thrown instanceof Error && "code" in thrown && thrown.code === "EPERM";
  }
}

function signalName(number: number): string | undefined {
  return Object.entries(os.constants.signals).find(([, value]) => value === number)?.[0];
}
