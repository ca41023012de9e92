/** Builders and observers for tests of commands: ids, what a command printed in all, waiting with a deadline. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { CallId } from "../../contract/ids.ts";
import type { CommandEnd, Sandbox, SpoolOffsets } from "../../sandbox/provider.ts";

export const FROM_START: SpoolOffsets = { stdout: 0, stderr: 0 };
const DEADLINE_MS = 8_000;

export interface Watched {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly end: CommandEnd | undefined;
  readonly printed: SpoolOffsets | undefined;
  /** Offsets of the output events of stdout, in order. */
  readonly offsets: readonly number[];
}

export const newCallId = (): CallId => `call_${randomUUID()}`;

/** Follows a command to its end, or until `enough` of its output. */
export async function watch(
  sandbox: Sandbox,
  callId: CallId,
  { from = FROM_START, until }: { from?: SpoolOffsets; until?: string } = {},
): Promise<Watched> {
  const printed = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const offsets: number[] = [];
  const signal = AbortSignal.timeout(DEADLINE_MS);
  let ended: { end: CommandEnd; printed: SpoolOffsets } | undefined;
  for await (const event of sandbox.follow(callId, from, signal)) {
    if (event.type === "ended") ended = event;
    else {
      printed[event.stream].push(event.bytes);
      if (event.stream === "stdout") offsets.push(event.offset);
      if (until !== undefined && Buffer.concat(printed.stdout).includes(until)) break;
    }
  }
  if (signal.aborted) throw new Error(`the command did not end within ${DEADLINE_MS} ms`);
  return {
    stdout: Buffer.concat(printed.stdout),
    stderr: Buffer.concat(printed.stderr),
    end: ended?.end,
    printed: ended?.printed,
    offsets,
  };
}

export async function run(
  sandbox: Sandbox,
  command: string,
  options: { callId?: CallId; timeoutMs?: number; cwd?: string; environment?: Record<string, string> } = {},
): Promise<Watched & { readonly callId: CallId }> {
  const { callId = newCallId(), timeoutMs = 20_000, ...rest } = options;
  await sandbox.start({ callId, command, timeoutMs, ...rest });
  return { callId, ...(await watch(sandbox, callId)) };
}

/** Waits for a condition by looking again and again, and fails after a while. */
export async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`it never came true that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
export const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
export const lines = (value: Uint8Array): readonly string[] => text(value).split("\n").filter(Boolean);

/** Whether a process of this host runs; a zombie does not. */
export function isRunning(pid: number): boolean {
  const fields = processFields(pid);
  return fields !== undefined && fields[0] !== "Z";
}

export function parentOf(pid: number): number {
  return Number(processFields(pid)?.[1]);
}

function processFields(pid: number): readonly string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
