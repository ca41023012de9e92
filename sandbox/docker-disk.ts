/**
 * Holds the disk of a container while its commands are followed: an engine has no quota but on a few file systems. A single
 * file is held by the kernel at the same size at all times (`fsize`).
 */
import type { CallId } from "../contract/ids.ts";
import { createDockerChannel } from "./docker-channel.ts";
import type { DockerEngine } from "./docker-engine.ts";
import type { CommandEvent, Sandbox } from "./provider.ts";
import { unless } from "./remote/shells.ts";

const FIRST_LOOK_MS = 500;
const LOOK_EVERY_MS = 2_000;
/** The engine walks all files for it, so it is not asked to do more than a part of the time. */
const REST_TIMES = 20;
const LOOK_MS = 60_000;
const TELL_MS = 2_000;
/** A member that the types of the client do not know. */
const WITH_SIZE: object = { size: true };
const MIB = 1024 * 1024;

export interface DiskWatch {
  readonly engine: DockerEngine;
  readonly container: string;
  readonly diskMiB: number;
}

/** The same sandbox, whose commands are killed when they fill more than they may. One that removes files is left alone. */
export function withDiskWatch(sandbox: Sandbox, watch: DiskWatch): Sandbox {
  return {
    ...sandbox,
    async *follow(callId, from, signal): AsyncGenerator<CommandEvent, void, void> {
      const ended = new AbortController();
      const watching = watchDisk(sandbox, callId, { ...watch, signal: ended.signal });
      try {
        yield* sandbox.follow(callId, from, signal);
      } finally {
        ended.abort();
        await watching;
      }
    },
  };
}

async function watchDisk(
  sandbox: Sandbox,
  callId: CallId,
  { engine, container, diskMiB, signal }: DiskWatch & { readonly signal: AbortSignal },
): Promise<void> {
  // Only growth since the first look is held against this command: on a disk that is too full it may be cleaning up.
  let before = Number.POSITIVE_INFINITY;
  let restMs = FIRST_LOOK_MS;
  while (await passed(restMs, signal)) {
    const at = Date.now();
    const used = await unless(signal, usedBytes(engine, container));
    if (used === undefined) return;
    if (used > before) {
      // It may have ended meanwhile, with its sandbox or alone.
      await unless(signal, tellWhy(sandbox, callId, { engine, container, diskMiB })).catch(() => undefined);
      await sandbox.kill(callId).catch(() => undefined);
    }
    before = Math.max(diskMiB * MIB, used);
    restMs = Math.max(LOOK_EVERY_MS, REST_TIMES * (Date.now() - at));
  }
}

/** In words at the end of what it printed: that it was ended says nothing to who reads it. */
async function tellWhy(sandbox: Sandbox, callId: CallId, { engine, container, diskMiB }: DiskWatch): Promise<void> {
  const words = `perdure: the sandbox has written more than its ${diskMiB} MiB; the command was ended, what it wrote is still there`;
  const argv = ["sh", "-c", 'echo "$1" >>"$2"', "perdure", words, sandbox.spoolPath(callId, "stderr")];
  const telling = await createDockerChannel(engine, container).exec(argv, { signal: AbortSignal.timeout(TELL_MS) });
  await telling.exit;
}

/** What was written over the image, as far as the engine can tell; 0 when it cannot. */
async function usedBytes(engine: DockerEngine, container: string): Promise<number> {
  try {
    const found: object = await engine.call(
      "tell how large the container is",
      (docker) => docker.getContainer(container).inspect(WITH_SIZE),
      LOOK_MS,
    );
    return "SizeRw" in found && typeof found.SizeRw === "number" ? found.SizeRw : 0;
  } catch {
    return 0; // Whoever follows the command learns of an engine or a container that is gone.
  }
}

/** Whether the time is over; false as soon as the signal is aborted. */
async function passed(ms: number, signal: AbortSignal): Promise<boolean> {
  const waited = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => waited.resolve(true), ms);
  const ended = await unless(signal, waited.promise);
  clearTimeout(timer);
  return ended === true;
}
