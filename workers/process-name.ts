/** The name of a worker process: its host, its pid, and the instant the kernel started it. No other process ever has it. */
import { hostname } from "node:os";
import { identityOf } from "../cli/process-identity.ts";

export interface ProcessName {
  readonly host: string;
  /** As running attempts name it: pid and identity. */
  readonly process: string;
  /** Unique among the workers of all hosts. */
  readonly id: string;
}

/** @param hostId What this host is called; default: its own name. */
export function ownProcessName(hostId?: string): ProcessName {
  const host = hostId ?? hostname();
  const own = `${process.pid}:${identityOf(process.pid)}`;
  return { host, process: own, id: `${host}/${own}` };
}

/** Whether the process of an attempt lives on this host. */
export function isAlive(known: string): boolean {
  const [pid, ...identity] = known.split(":");
  return identityOf(Number(pid)) === identity.join(":");
}

/** Whether an id is that of a process of this host that is gone. Of another host's nothing is known. */
export function isGone(id: string, hostId?: string): boolean {
  const own = `${hostId ?? hostname()}/`;
  return id.startsWith(own) && !isAlive(id.slice(own.length));
}
