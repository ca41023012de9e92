/**
 * Which process a pid names. A pid alone is reused by the kernel; a pid with the instant at which the kernel started
 * it is not. A zombie counts as gone: it runs nothing and holds nothing.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

export interface KnownProcess {
  readonly pid: number;
  /** What `identityOf` said when the process was started. */
  readonly identity: string;
}

const POLL_MS = 20;

/** The kernel's start time of a living process, or undefined when there is none with this pid. */
export function identityOf(pid: number): string | undefined {
  return process.platform === "linux" ? fromProc(pid) : fromPs(pid);
}

export function isAlive(known: KnownProcess): boolean {
  return identityOf(known.pid) === known.identity;
}

/** Sends a signal, but never to a stranger that has got the pid since. Says whether it was sent. */
export function signalKnown(known: KnownProcess, signal: NodeJS.Signals): boolean {
  if (!isAlive(known)) return false;
  try {
    return process.kill(known.pid, signal);
  } catch {
    return false; // It ended between the look and the signal, or it is not ours to stop.
  }
}

/** Waits until all are gone or the time is over, and answers with those that still live. */
export async function waitGone(all: readonly KnownProcess[], timeoutMs: number): Promise<readonly KnownProcess[]> {
  const deadline = Date.now() + timeoutMs;
  let alive = all.filter(isAlive);
  while (alive.length > 0 && Date.now() < deadline) {
    await delay(POLL_MS);
    alive = alive.filter(isAlive);
  }
  return alive;
}

function fromProc(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold blanks and parentheses, so fields are counted from the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, startTicks] = [fields[0], fields[19]];
    if (state === "Z" || state === "X" || startTicks === undefined) return undefined;
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}:${startTicks}`;
  } catch {
    return undefined;
  }
}

function fromPs(pid: number): string | undefined {
  try {
    const [state, ...started] = execFileSync("ps", ["-o", "state=,lstart=", "-p", String(pid)], { encoding: "utf8" })
      .trim()
      .split(/\s+/);
    return state === undefined || state.startsWith("Z") ? undefined : started.join(" ");
  } catch {
    return undefined;
  }
}
