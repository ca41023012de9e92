/**
 * What a container has written over its image. Where this host runs it and may look, as the bubblewrap watcher does: each file as
 * at least one block, and files without a name as long as they are open or mapped. Else what the engine says, which counts neither.
 */
import { execFile } from "node:child_process";
import { access, constants, readdir, readlink, stat, statfs } from "node:fs/promises";
import { promisify } from "node:util";
import type Docker from "dockerode";
import type { DockerEngine } from "./docker-engine.ts";

const run = promisify(execFile);
const LOOK_MS = 60_000;
const KIB = 1024;
/** Of each file, as file systems give space. */
const FILE_KIB = 4;
/** A member that the types of the client do not know. */
const WITH_SIZE: object = { size: true };

export interface ContainerUsage {
  /** KiB that are taken; undefined: it cannot be told now. */
  used(): Promise<number | undefined>;
  /** KiB that are free on the disk that it fills; undefined where that is not on this host. */
  free(): Promise<number | undefined>;
}

export async function usageOf(engine: DockerEngine, container: Docker.ContainerInspectInfo): Promise<ContainerUsage> {
  const upper = await upperFolder(engine, container);
  const byEngine = (): Promise<number | undefined> => sizeByEngine(engine, container.Id);
  if (upper === undefined) return { used: byEngine, free: async () => undefined };
  return {
    used: async () => (await sizeHere(upper, container.State.Pid)) ?? (await byEngine()),
    free: async () => {
      const found = await statfs(upper).catch(() => undefined);
      return found && Math.floor((found.bavail * found.bsize) / KIB);
    },
  };
}

/** The folder of this host that holds what the container writes, where we may look into it. */
async function upperFolder(
  { isLocal }: DockerEngine,
  { GraphDriver, State }: Docker.ContainerInspectInfo,
): Promise<string | undefined> {
  const data: Readonly<Record<string, unknown>> = GraphDriver?.Data ?? {};
  const { UpperDir: upper } = data;
  if (!isLocal || typeof upper !== "string") return undefined;
  try {
    await access(upper, constants.R_OK | constants.X_OK);
    // A socket of this host may lead to an engine in another machine or container, whose pids and paths are others.
    await readlink(`/proc/${State.Pid}/ns/pid`);
    return upper;
  } catch {
    return undefined;
  }
}

async function sizeHere(upper: string, pid: number): Promise<number | undefined> {
  const [bytes, files, unnamed] = await Promise.all([
    du(["-sk", upper]),
    du(["-s", "--inodes", upper]),
    unnamedKiB(pid),
  ]);
  return bytes === undefined ? undefined : Math.max(bytes, (files ?? 0) * FILE_KIB) + unnamed;
}

/** Its first number, also when something has gone while it looked. */
async function du(args: readonly string[]): Promise<number | undefined> {
  const failed = (error: unknown): { readonly stdout: string } => ({
    stdout: error instanceof Error && "stdout" in error ? String(error.stdout) : "",
  });
  const { stdout } = await run("du", args, { timeout: LOOK_MS }).catch(failed);
  const [, number] = /^(\d+)/.exec(stdout) ?? [];
  return number === undefined ? undefined : Number(number);
}

const BLOCKS_PER_KIB = 2;

async function unnamedKiB(first: number): Promise<number> {
  const root = await stat(`/proc/${first}/root`).catch(() => undefined);
  const seen = new Map<string, number>();
  for (const pid of await membersOf(first)) {
    for (const folder of [`/proc/${pid}/fd`, `/proc/${pid}/map_files`]) {
      for (const name of await readdir(folder).catch(() => [])) {
        const target = await readlink(`${folder}/${name}`).catch(() => "");
        if (!target.endsWith("(deleted)")) continue;
        const found = await stat(`${folder}/${name}`).catch(() => undefined);
        // Those of other file systems, such as shared memory, are not on this disk.
        if (!found?.isFile() || found.nlink > 0 || found.dev !== root?.dev) continue;
        seen.set(`${found.ino}`, found.blocks / BLOCKS_PER_KIB);
      }
    }
  }
  return [...seen.values()].reduce((all, one) => all + one, 0);
}

async function membersOf(first: number): Promise<readonly string[]> {
  const own = await readlink(`/proc/${first}/ns/pid`).catch(() => undefined);
  if (own === undefined) return [];
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const spaces = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/ns/pid`).catch(() => undefined)));
  return pids.filter((_, index) => spaces[index] === own);
}

async function sizeByEngine(engine: DockerEngine, container: string): Promise<number | undefined> {
  try {
    const found: object = await engine.call(
      "tell how large the container is",
      (docker) => docker.getContainer(container).inspect(WITH_SIZE),
      LOOK_MS,
    );
    return "SizeRw" in found && typeof found.SizeRw === "number" ? Math.floor(found.SizeRw / KIB) : undefined;
  } catch {
    return undefined; // Whoever uses the sandbox learns of an engine or a container that is gone.
  }
}
