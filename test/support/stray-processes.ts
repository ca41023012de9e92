/** Which processes belong to a folder or to a mark: they work in it, or their command line or environment names it. Linux only. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Pids of living processes that have to do with the folder (or any text), this one left out. Empty where there is no /proc. */
export function processesOf(folder: string): readonly number[] {
  return pids().filter((pid) => pid !== process.pid && belongsTo(pid, folder));
}

/** What a process is, for a person to read. */
export function describeProcess(pid: number): string {
  return `${pid} ${read(pid, "cmdline").replaceAll("\0", " ").slice(0, 300)}`;
}

function pids(): readonly number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

function belongsTo(pid: number, folder: string): boolean {
  const isZombie = /^\d+ \(.*\) [ZX] /s.test(read(pid, "stat"));
  return (
    !isZombie &&
    (workingFolder(pid).startsWith(folder) || ["cmdline", "environ"].some((file) => read(pid, file).includes(folder)))
  );
}

function workingFolder(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return "";
  }
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // It has ended, or it is not ours to look at.
  }
}
