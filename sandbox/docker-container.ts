/** The container of a sandbox as it is asked of the engine: its name, its labels and what it is held to. */
import type { ContainerCreateOptions } from "dockerode";
import { SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxSpec } from "../contract/sandbox.ts";
import { SandboxError } from "./provider.ts";

export const WORKSPACE = "/workspace";
const MIB = 1024 * 1024;
/** `/tmp` and `/dev/shm` get one each at most. */
const IN_MEMORY_PARTS = 4;

export const LABELS = {
  owner: "perdure.owner",
  sandbox: "perdure.sandbox",
  madeAt: "perdure.made-at",
  diskMiB: "perdure.disk-mib",
  /** The hosts that it may reach, as JSON. */
  network: "perdure.network",
} as const;

/**
 * Does nothing, and reaps whatever becomes its child. The first process itself, not the engine's init before it: nothing inside
 * can kill the first process, while an init ends, and the container with it, when its one child was killed.
 */
const IDLE = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";

/** Throws SandboxError `denied` for what is no sandbox id. */
export function containerName(owner: string, id: SandboxId): string {
  if (!SandboxId.safeParse(id).success) {
    throw new SandboxError("denied", "expected a sandbox id: sbx_ and letters, digits, _ or -");
  }
  return `perdure-${owner}-${id}`;
}

export interface ContainerWish {
  readonly owner: string;
  readonly id: SandboxId;
  readonly image: string;
  readonly spec: SandboxSpec;
  /** Cores of the engine's host; more cannot be asked for. */
  readonly cores: number;
}

export function containerOptions(wish: ContainerWish): ContainerCreateOptions {
  const { owner, id, image, spec, cores } = wish;
  const memory = (spec.memoryMiB ?? LIMITS.sandboxMemoryMiB) * MIB;
  const diskMiB = spec.diskMiB ?? LIMITS.sandboxDiskMiB;
  // Files that are memory go with no program: filled to the last byte, the kernel would end the container for want of it.
  const inMemory = Math.min(Math.floor(memory / IN_MEMORY_PARTS), LIMITS.sandboxTemporaryMiB * MIB);
  return {
    name: containerName(owner, id),
    Image: image,
    Entrypoint: ["sh", "-c", IDLE],
    Cmd: [],
    User: "0:0",
    // The engine makes it when it is not there.
    WorkingDir: WORKSPACE,
    Hostname: "perdure",
    Labels: {
      [LABELS.owner]: owner,
      [LABELS.sandbox]: id,
      [LABELS.madeAt]: String(Date.now()),
      [LABELS.diskMiB]: String(diskMiB),
      ...(spec.network && { [LABELS.network]: JSON.stringify(spec.network.allow) }),
    },
    StopSignal: "SIGKILL",
    HostConfig: {
      NetworkMode: "none",
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Privileged: false,
      Init: false,
      IpcMode: "private",
      Memory: memory,
      MemorySwap: memory,
      // It is memory, and counts as such; the engine's own default is too small for browsers.
      ShmSize: inMemory,
      ...(spec.cpu !== undefined && { NanoCpus: Math.round(Math.min(spec.cpu, cores) * 1e9) }),
      PidsLimit: spec.processesMax ?? LIMITS.sandboxProcesses,
      Ulimits: [
        { Name: "core", Soft: 0, Hard: 0 },
        { Name: "fsize", Soft: diskMiB * MIB, Hard: diskMiB * MIB },
      ],
      Tmpfs: { "/tmp": `rw,exec,nosuid,nodev,mode=1777,size=${inMemory}` },
      LogConfig: { Type: "none", Config: {} },
      RestartPolicy: { Name: "no" },
    },
  };
}
