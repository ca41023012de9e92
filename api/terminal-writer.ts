/** Names of those who write into terminals. Each tells its API process, so that a writer whose process was killed is known to be gone. */
import { randomUUID } from "node:crypto";
import { identityOf, isAlive } from "../cli/process-identity.ts";

const PROCESS = `${process.pid}:${identityOf(process.pid) ?? ""}`;

export function newWriter(): string {
  return `${PROCESS}/${randomUUID()}`;
}

/** Whether the API process of that writer is dead. All of a stack's processes are on one machine; of a name that tells none, nothing is known. */
export function isWriterGone(writer: string): boolean {
  const [, pid, identity] = /^(\d+):(.+)\/[^/]*$/.exec(writer) ?? [];
  return pid !== undefined && identity !== undefined && !isAlive({ pid: Number(pid), identity });
}
