/** Commands of a remote sandbox: started once, followed from any byte, ended, by the supervisor inside it. */
import os from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { CallId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { ownVariables, secretVariables } from "../environment.ts";
import type { CommandEvent, CommandStart, Sandbox, SpoolOffsets } from "../provider.ts";
import { SandboxError } from "../provider.ts";
import { type Poll, parsePoll } from "./poll-answer.ts";
import { giveBlocks, inBlocks } from "./remote-files.ts";
import { absoluteInside, pathWords, type RemoteFolders, words } from "./remote-paths.ts";
import { toSandboxError } from "./request-errors.ts";
import { exportLine } from "./shell.ts";
import { POLL_BYTES, STATUS } from "./shell-script.ts";
import { NoShellError, type Reply, type Shells, unless } from "./shells.ts";

export type RemoteCommands = Pick<Sandbox, "start" | "follow" | "kill">;

/** A kill waits for the grace twice, and for the kernel. */
const KILL_MS = 4 * LIMITS.killGraceMs + LIMITS.remoteSilenceMs;
const PACE_MS = { fastest: 2, slowest: 200 } as const;
/** A sandbox that does not answer is asked again for so long, and at least as long as the command may run: it may be full of it. */
const PATIENCE_MS = 60_000;
const ASK_AGAIN_MS = 500;
/** Before a command that found no room to begin in is started once more: what was ended there takes a moment to be gone. */
const UNCLAIMED_PAUSES_MS = [100, 400, 1_000, 2_000] as const;
/** Yields at most so much at once. */
const PIECE_BYTES = 64 * 1024;
const POLL_BYTES_MAX = 2 * POLL_BYTES + 4_096;

export function createRemoteCommands(shells: Shells, folders: RemoteFolders): RemoteCommands {
  return {
    start: (command) => startCall(shells, folders, command),
    follow: (callId, from, signal) => followCall(shells, checkedCallId(callId), { from, signal }),
    async kill(callId) {
      const call = checkedCallId(callId);
      try {
        const reply = await shells.ask(`kill_call ${words(call)}`, { silenceMs: KILL_MS });
        if (reply.status !== 0 && reply.status !== STATUS.lost) throw toSandboxError(reply, call);
      } catch (thrown) {
        // What is gone does not run.
        if (!(thrown instanceof SandboxError && thrown.kind === "lost")) throw thrown;
      }
    },
  };
}

/** Ids are path parts here, so they are checked although they have a type. */
export function checkedCallId(id: CallId): CallId {
  if (CallId.safeParse(id).success) return id;
  throw new SandboxError("denied", "expected a call id: call_ and letters, digits, _ or -");
}

async function startCall(shells: Shells, { workspace }: RemoteFolders, command: CommandStart): Promise<void> {
  const call = checkedCallId(command.callId);
  if (command.command.includes("\0")) {
    throw new SandboxError("failed", "the command holds a NUL byte, which no shell takes");
  }
  const cwd = absoluteInside(workspace, command.cwd ?? "");
  const { environment: own = {}, secrets = {}, timeoutMs } = command;
  // A secret stands over a variable of the same name, which `env` would otherwise set last.
  const variables = ownVariables(Object.fromEntries(Object.entries(own).filter(([name]) => !(name in secrets))));
  const hidden = secretVariables(secrets);
  await putInput(shells, call, command);
  const line = `start_call ${words(call)} ${pathWords(cwd)} ${words(timeoutMs, command.command, ...variables)}`;
  const isSecret = Object.keys(hidden).length > 0;
  // The variables of a subshell are those of what it starts, and nobody else's.
  for (let tries = 0; ; tries++) {
    const reply = await shells.ask(isSecret ? `(${exportLine(hidden)}; ${line})` : line, { isSecret });
    if (reply.status === 0) return;
    const pauseMs = reply.status === STATUS.unclaimed ? UNCLAIMED_PAUSES_MS[tries] : undefined;
    if (pauseMs === undefined) throw startError(reply, command);
    await delay(pauseMs);
  }
}

function startError(reply: Reply, { cwd = "" }: CommandStart): SandboxError {
  if (reply.status === STATUS.missing) return new SandboxError("not_found", `the working folder ${cwd} does not exist`);
  if (reply.status === STATUS.notFolder)
    return new SandboxError("not_found", `the working folder ${cwd} is not a folder`);
  return toSandboxError(reply, cwd);
}

async function putInput(shells: Shells, call: CallId, { input }: CommandStart): Promise<void> {
  if (input === undefined) return;
  if (input.byteLength > LIMITS.commandInputBytesMax) {
    const most = LIMITS.commandInputBytesMax;
    throw new SandboxError("too_large", `the input has ${input.byteLength} bytes; expected at most ${most}`);
  }
  await giveBlocks(shells, { line: `give_input ${words(call)}`, blocks: inBlocks([input]), given: "the input" });
}

interface Following {
  readonly from: SpoolOffsets;
  readonly signal: AbortSignal;
}

/** Of an output longer than its spool keeps, the head comes while it is printed and the tail before the end. */
async function* followCall(
  shells: Shells,
  call: CallId,
  { from, signal }: Following,
): AsyncGenerator<CommandEvent, void, void> {
  const offsets = { stdout: from.stdout, stderr: from.stderr };
  const since = Date.now();
  let pace: number = PACE_MS.fastest;
  let wasThere = false;
  let patientUntil = since + PATIENCE_MS;
  let overBy = 0;
  while (!signal.aborted) {
    const line = `poll_call ${words(call, offsets.stdout, offsets.stderr, LIMITS.remotePollMs, pace)}`;
    const reply = await askUnless(shells, line, { signal, patientUntil: Math.max(patientUntil, overBy) });
    if (reply === undefined) return;
    if (reply === "later") continue;
    patientUntil = Date.now() + PATIENCE_MS;
    if (reply.status === STATUS.noCall && wasThere) {
      // Somebody inside removed what was recorded of it.
      yield { type: "ended", end: { ended: "unknown" }, printed: offsets };
      return;
    }
    if (reply.status !== 0) throw toSandboxError(reply, call);
    wasThere = true;
    const poll = parsePoll(reply.output, signalName);
    if (poll.claim) overBy ||= Date.now() + poll.claim.timeoutMs + KILL_MS;
    for (const event of output(poll, offsets)) {
      if (signal.aborted) return;
      yield event;
    }
    if (signal.aborted) return;
    if (poll.stdout.bytes.length > 0 || poll.stderr.bytes.length > 0) {
      pace = PACE_MS.fastest;
      continue;
    }
    const end = poll.end ?? lostEnd(poll, Date.now() - since);
    if (end !== undefined) {
      yield { type: "ended", end, printed: { stdout: poll.stdout.size, stderr: poll.stderr.size } };
      return;
    }
    // Answers without news that come at once would be asked for without end.
    if (poll.watched === false) await new Promise((resolve) => setTimeout(resolve, PACE_MS.slowest));
    pace = PACE_MS.slowest;
  }
}

/**
 * undefined: nobody follows any more. A sandbox that is full of what the command has started has no room for who asks, nor has
 * one whose engine is away an answer: the command goes on all the same, so that is no end of it.
 */
async function askUnless(
  shells: Shells,
  line: string,
  { signal, patientUntil }: { readonly signal: AbortSignal; readonly patientUntil: number },
): Promise<Reply | "later" | undefined> {
  try {
    return await shells.ask(line, { signal, bytesMax: POLL_BYTES_MAX });
  } catch (thrown) {
    if (signal.aborted) return undefined;
    if (!(thrown instanceof NoShellError) || Date.now() > patientUntil) throw thrown;
    await unless(signal, delay(ASK_AGAIN_MS));
    return "later";
  }
}

function* output(poll: Poll, offsets: Record<"stdout" | "stderr", number>): Generator<CommandEvent, void, void> {
  for (const stream of ["stdout", "stderr"] as const) {
    const { bytes, from } = poll[stream];
    if (bytes.length === 0) continue;
    for (let done = 0; done < bytes.length; done += PIECE_BYTES) {
      const piece = bytes.subarray(done, done + PIECE_BYTES);
      offsets[stream] = from + done + piece.length;
      yield { type: "output", stream, bytes: piece, offset: from + done };
    }
  }
}

/** `unknown` when the claim is there and nobody is left to write the end. `followedMs`: for how long it was looked for. */
function lostEnd(poll: Poll, followedMs: number): { readonly ended: "unknown" } | undefined {
  const { claim, watched, hasGroup } = poll;
  if (claim === undefined) {
    if (followedMs < LIMITS.killGraceMs) return undefined;
    throw new SandboxError("not_found", "no command was started under this call id");
  }
  if (watched !== false) return undefined;
  if (claim.pid === undefined && followedMs < LIMITS.killGraceMs) return undefined;
  // Its watcher ends what a killed parent leaves; should that be dead too, the timeout is the bound.
  const isHopeless = poll.claimAgeMs > claim.timeoutMs + 2 * LIMITS.killGraceMs;
  return hasGroup && !isHopeless ? undefined : { ended: "unknown" };
}

function signalName(number: number): string | undefined {
  return Object.entries(os.constants.signals).find(([, value]) => value === number)?.[0];
}
