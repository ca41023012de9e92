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

export function ownProcessName(): ProcessName {
  const host = hostname();
  const own = `${process.pid}:${identityOf(process.pid)}`;
  return { host, process: own, id: `${host}/${own}` };
}

/** Whether the process of an attempt lives on this host. */
export function isAlive(known: string): boolean {
  const [pid, ...identity] = known.split(":");
  return identityOf(Number(pid)) === identity.join(":");
}

/** Whether an id is that of a process of this host that is gone. Of another host's nothing is known. */
export function isGone(id: string): boolean {
  const own = `${hostname()}/`;
  return id.startsWith(own) && !isAlive(id.slice(own.length));
}
