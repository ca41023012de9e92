/** Follows a command by its call folder: what it printed from given offsets on, then its end. Never touches the command. */
import { closeSync, existsSync, openSync, readSync, statSync, watch } from "node:fs";
import path from "node:path";
import { setImmediate } from "node:timers/promises";
import { LIMITS } from "../contract/limits.ts";
import { isGroupAlive, isWatched, readClaim, readEnd } from "./call-folder.ts";
import type { CommandEnd, CommandEvent, SpoolOffsets } from "./provider.ts";
import { SandboxError } from "./provider.ts";
import { SPOOL_HEAD_BYTES, SPOOL_TAIL_BYTES } from "./supervisor.ts";

const STREAMS = ["stdout", "stderr"] as const;
type Stream = (typeof STREAMS)[number];

/** Yields at most so much at once. */
const READ_BYTES = 64 * 1024;
/** The pace of looking where the system tells of no change; where it does, the slowest pace makes up for a lost notice. */
const PACE_MS = { fastest: 2, slowest: 50 } as const;
const LIVENESS_EVERY_MS = 250;

/**
 * Of an output longer than its spool keeps, the head comes while it is printed and the tail before the end; the offsets say
 * what is left out between them.
 */
export async function* followCall(
  folder: string,
  from: SpoolOffsets,
  signal: AbortSignal,
): AsyncGenerator<CommandEvent, void, void> {
  const offsets = { stdout: from.stdout, stderr: from.stderr };
  const changes = watchFolder(folder);
  const liveness = { checkedAt: Date.now(), since: Date.now() };
  try {
    while (!signal.aborted) {
      // The record first: everything that was printed was in the spools before it.
      const end = readEnd(folder) ?? lostEnd(folder, liveness);
      for (const stream of STREAMS) yield* readNew(folder, stream, offsets, end !== undefined, signal);
      if (signal.aborted) return;
      if (end !== undefined) {
        yield { type: "ended", end, printed: { stdout: printed(folder, "stdout"), stderr: printed(folder, "stderr") } };
        return;
      }
      await changes.next(signal);
    }
  } finally {
    changes.close();
  }
}

async function* readNew(
  folder: string,
  stream: Stream,
  offsets: Record<Stream, number>,
  ended: boolean,
  signal: AbortSignal,
): AsyncGenerator<CommandEvent, void, void> {
  const size = printed(folder, stream);
  if (size <= offsets[stream]) return;
  const descriptor = openSync(path.join(folder, stream), "r");
  try {
    for (const until of ended && size > SPOOL_HEAD_BYTES
      ? [SPOOL_HEAD_BYTES, size]
      : [Math.min(size, SPOOL_HEAD_BYTES)]) {
      if (until > SPOOL_HEAD_BYTES)
        offsets[stream] = Math.max(offsets[stream], SPOOL_HEAD_BYTES, size - SPOOL_TAIL_BYTES);
      while (offsets[stream] < until && !signal.aborted) {
        const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, until - offsets[stream]));
        const count = readSync(descriptor, buffer, 0, buffer.length, offsets[stream]);
        if (count === 0) return; // The command truncated its own output, by writing to /dev/stdout for example.
        const offset = offsets[stream];
        offsets[stream] = offset + count;
        yield { type: "output", stream, bytes: buffer.subarray(0, count), offset };
        if (offsets[stream] < until) await setImmediate(); // A flood must not keep other sessions waiting.
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

/** A spool is as long as what was printed, also when its middle is cut out. */
function printed(folder: string, stream: Stream): number {
  return statSync(path.join(folder, stream), { throwIfNoEntry: false })?.size ?? 0;
}

/** `unknown` when the claim is there and nobody is left to write the end; looked at now and then only. */
function lostEnd(folder: string, liveness: { checkedAt: number; since: number }): CommandEnd | undefined {
  const now = Date.now();
  if (now - liveness.checkedAt < LIVENESS_EVERY_MS) return undefined;
  liveness.checkedAt = now;
  if (!existsSync(folder)) throw new SandboxError("lost", "the sandbox was removed while its command ran");
  const claim = readClaim(folder);
  if (claim === undefined) {
    if (now - liveness.since < LIMITS.killGraceMs) return undefined;
    throw new SandboxError("not_found", "no command was started under this call id");
  }
  if (isWatched(claim)) return undefined;
  const written = readEnd(folder); // It may have been written between the look for it and the look at its writer.
  if (written !== undefined) return written;
  if (claim.process === undefined && now - claim.claimedAt < LIMITS.killGraceMs) return undefined;
  // Its watcher ends what a killed parent leaves; should that be dead too, the timeout is the bound.
  const hopelessAt = claim.claimedAt + claim.timeoutMs + 2 * LIMITS.killGraceMs;
  return isGroupAlive(claim) && now < hopelessAt ? undefined : { ended: "unknown" };
}

interface FolderChanges {
  /** Resolves at the next change, after a while without one, or when the signal is aborted. */
  next(signal: AbortSignal): Promise<void>;
  close(): void;
}

function watchFolder(folder: string): FolderChanges {
  let changed = false;
  let wake: (() => void) | undefined;
  const notice = (): void => {
    changed = true;
    wake?.();
  };
  const watcher = openWatcher(folder, notice);
  let pace: number = watcher === undefined ? PACE_MS.fastest : PACE_MS.slowest;
  return {
    async next(signal) {
      if (!changed) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, pace);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
          signal.addEventListener("abort", wake, { once: true });
        });
        if (wake) signal.removeEventListener("abort", wake);
        wake = undefined;
        pace = Math.min(pace * 2, PACE_MS.slowest);
      }
      changed = false;
    },
    close() {
      watcher?.close();
    },
  };
}

/** undefined where the system has no watches left: the pace makes up for it. */
function openWatcher(folder: string, notice: () => void): { close(): void } | undefined {
  try {
    const watcher = watch(folder, notice);
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}
