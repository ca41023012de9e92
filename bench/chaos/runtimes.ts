/** The runtime processes of copilot backends: children of workers, known by the program that they run. Linux only. */
import { readFileSync } from "node:fs";
import { processesOf } from "../../test/support/stray-processes.ts";

const PROGRAM = "copilot-runtime";

/** Of the worker with that pid, as far as they live. */
export function runtimesOf(workerPid: number): readonly number[] {
  return processesOf(PROGRAM).filter((pid) => isRuntime(pid) && parentOf(pid) === workerPid);
}

/** Those that have to do with the folder, whoever is their parent. */
export function runtimesIn(folder: string): readonly number[] {
  return processesOf(folder).filter(isRuntime);
}

function isRuntime(pid: number): boolean {
  return read(pid, "cmdline").split("\0")[0]?.endsWith(PROGRAM) === true;
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(read(pid, "status"))?.[1] ?? -1);
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // It has ended.
  }
}
