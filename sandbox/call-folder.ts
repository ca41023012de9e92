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
 * Whether a process of the group that the command's parent led still runs. Once its leader is gone, and perhaps all of it,
 * the number may be a stranger's: see `ownsGroup`. `groups` spares a look at all processes for each of many calls.
 */
export function isGroupAlive(claim: Claim, groups?: LivingGroups): boolean {
  if (claim.process === undefined) return false;
  const { pid, startedAt } = claim.process;
  if (!isSignalable(-pid)) return false;
  if (startedAt === "-") return true;
  const leader = leaderOf(claim);
  if (leader === "stranger") return false;
  return leader === "alive" || (groups ?? livingGroups()).has(pid);
}

/**
 * Whether the group of that number is the command's: its leader is the process that claimed the call, or, when that is gone,
 * `isOurs` says of a member that it is. A group keeps its number while it has a member.
 */
export function ownsGroup(claim: Claim, groups: LivingGroups, isOurs: (pid: number) => boolean): boolean {
  if (claim.process === undefined) return false;
  const leader = leaderOf(claim);
  if (leader === "stranger") return false;
  if (leader === "alive" || leader === "zombie") return true;
  return (groups.get(claim.process.pid) ?? []).some(isOurs);
}

function leaderOf(claim: Claim): "alive" | "zombie" | "gone" | "stranger" {
  const { pid, startedAt, boot } = claim.process ?? { pid: 0, startedAt: "", boot: "" };
  const leader = processState(pid);
  if (startedAt !== "-" && bootName() !== boot) return "stranger";
  if (leader === undefined) return "gone";
  if (leader.startedAt !== startedAt) return "stranger";
  return leader.state === "Z" ? "zombie" : "alive";
}

/** Process groups by number, with their members that are not zombies: not every first process of a container reaps. */
export type LivingGroups = ReadonlyMap<number, readonly number[]>;

export function livingGroups(): LivingGroups {
  const groups = new Map<number, number[]>();
  for (const pid of processes()) {
    const member = processState(pid);
    if (member === undefined || member.state === "Z") continue;
    const members = groups.get(member.group);
    if (members) members.push(pid);
    else groups.set(member.group, [pid]);
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

export interface ProcessState {
  readonly state: string;
  readonly group: number;
  readonly session: number;
  readonly startedAt: string;
}

export function processState(pid: number): ProcessState | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  // The second field is the program's name in parentheses, which may hold anything.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined) return undefined;
  return { state: fields[0] ?? "", group: Number(fields[2]), session: Number(fields[3]), startedAt: fields[19] ?? "" };
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
