/** Builders and observers for tests of commands: ids, what a command printed in all, waiting with a deadline. */
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { CallId } from "../../contract/ids.ts";
import type { CommandEnd, CommandStart, Sandbox, SpoolOffsets } from "../../sandbox/provider.ts";

export const FROM_START: SpoolOffsets = { stdout: 0, stderr: 0 };
const DEADLINE_MS = 40_000;

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
  options: Partial<Omit<CommandStart, "command">> = {},
): Promise<Watched & { readonly callId: CallId }> {
  const { callId = newCallId(), timeoutMs = 40_000, ...rest } = options;
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

/** A shell's loop that goes on in a file while it lives, so that its end is seen without any process id. */
export const beats = (file: string): string => `while :; do printf x >> ${file}; sleep 0.05; done`;

/** Waits until it beats in that file: a process that is not yet there cannot show that it was ended. */
export async function expectBeat(sandbox: Sandbox, file: string): Promise<void> {
  await eventually(async () => ((await sandbox.stat(file))?.bytes ?? 0) > 0, `${file} has begun to beat`);
}

/** Waits until what beat in that file has stopped. */
export async function expectStill(sandbox: Sandbox, file: string): Promise<void> {
  const size = async (): Promise<number> => (await sandbox.stat(file))?.bytes ?? 0;
  await expectBeat(sandbox, file);
  await eventually(async () => {
    const before = await size();
    await new Promise((resolve) => setTimeout(resolve, 250)); // Five beats: the absence of something takes time to see.
    return (await size()) === before;
  }, `${file} beats no more`);
}

/** Starts a command that says `up`, and returns once it did. */
export async function startedCommand(sandbox: Sandbox, command: string): Promise<CallId> {
  const callId = newCallId();
  await sandbox.start({ callId, command, timeoutMs: 60_000 });
  await watch(sandbox, callId, { until: "up\n" });
  return callId;
}

/** Processes of this host, zombies left out, with that word in their command line; providers of other hosts have none. */
export function processesWith(word: string): readonly number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) => readText(`/proc/${pid}/cmdline`).includes(word));
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // It has ended, or there is no /proc.
  }
}
