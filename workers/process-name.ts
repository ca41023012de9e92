/** The name of a worker process: its host, its pid, where that pid counts, and the instant the kernel started it. No other process ever has it. */
import { readlinkSync } from "node:fs";
import { identityOf } from "../cli/process-identity.ts";

export interface ProcessName {
  readonly host: string;
  /** As running attempts name it: pid, pid namespace and identity. */
  readonly process: string;
  /** Unique among the workers of all hosts. */
  readonly id: string;
}

/** @param host What this host is called: see host-identity.ts. */
export function ownProcessName(host: string): ProcessName {
  const own = `${process.pid}:${pidNamespace()}:${identityOf(process.pid)}`;
  return { host, process: own, id: `${host}/${own}` };
}

/**
 * Whether the process of an attempt on this host may live. Of one in another container nothing is known: its pid means
 * something else here, and so it is believed to live until Temporal or its own row says otherwise.
 */
export function isAlive(known: string): boolean {
  const [pid, namespace = "", ...identity] = known.split(":");
  // Of versions before 0.4: no namespace, but the identity begins there.
  if (!namespace.startsWith(NAMESPACE)) return identityOf(Number(pid)) === [namespace, ...identity].join(":");
  return namespace !== pidNamespace() || identityOf(Number(pid)) === identity.join(":");
}

/** Whether an id is that of a process of this host that is gone. Of another host's nothing is known. */
export function isGone(id: string, host: string): boolean {
  const own = `${host}/`;
  return id.startsWith(own) && !isAlive(id.slice(own.length));
}

const NAMESPACE = "ns-";

function pidNamespace(): string {
  try {
    return NAMESPACE + readlinkSync("/proc/self/ns/pid").replaceAll(/\D/g, "");
  } catch {
    return `${NAMESPACE}none`; // Not Linux: there is one alone.
  }
}
