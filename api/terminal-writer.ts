/** Names of those who write into terminals. Each tells its API process, so that a writer whose process was killed is known to be gone. */
import { randomUUID } from "node:crypto";

const PROCESS = randomUUID().slice(0, 8);

export function newWriter(): string {
  return `${process.pid}.${PROCESS}.${randomUUID()}`;
}

/** Whether the API process of that writer is dead. All of a stack's processes are on one machine; of a name that tells none, nothing is known. */
export function isWriterGone(writer: string): boolean {
  const [, digits, name] = /^(\d+)\.([0-9a-f]{8})\./.exec(writer) ?? [];
  const pid = Number(digits);
  if (!digits || name === PROCESS) return false;
  if (pid === process.pid) return true; // Its number is ours by now.
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}
