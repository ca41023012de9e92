/** Limits of a sandbox by cgroups, version 1 or 2, where this process may make some: one per sandbox, removed with it. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { LIMITS } from "../contract/limits.ts";

export interface ResourceLimits {
  readonly memoryMiB: number;
  readonly processesMax: number;
  /** Cores; undefined: as many as there are. */
  readonly cpu: number | undefined;
}

/** `freezer` is one of version 1 only; every cgroup of version 2 can be frozen. */
export type Controller = "memory" | "pids" | "cpu" | "freezer";
const CONTROLLERS: readonly Controller[] = ["memory", "pids", "cpu", "freezer"];
const CPU_PERIOD_US = 100_000;
const REMOVE_TRIES = 50;
const KILL_ROUND_MS = 20;

/** Where cgroups for sandboxes can be made. */
export interface CgroupPlaces {
  readonly version: 1 | 2;
  /** The folder of this host below which each controller's are made; what is missing here cannot be limited so. */
  readonly folders: Readonly<Partial<Record<Controller, string>>>;
}

/** What tells of cgroups; another one for tests. */
export interface CgroupSource {
  readonly mount: string;
  /** As /proc/self/cgroup has it. */
  readonly self: string;
}

const HOST: CgroupSource = { mount: "/sys/fs/cgroup", self: "" };

/** Looks for it by making one and removing it again. No place at all is an answer, not an error. */
export function findCgroupPlaces(
  source: CgroupSource = { ...HOST, self: readText("/proc/self/cgroup") },
): CgroupPlaces {
  const lines = source.self.split("\n").map((line) => line.split(":"));
  if (existsSync(path.join(source.mount, "cgroup.controllers"))) {
    const own =
      lines
        .find(([number, names]) => number === "0" && names === "")
        ?.slice(2)
        .join(":") ?? "/";
    const folder = [own, path.dirname(own), "/"].map((one) => path.join(source.mount, one)).find(isUsableV2);
    if (folder === undefined) return { version: 2, folders: {} };
    return { version: 2, folders: Object.fromEntries(controllersBelow(folder).map((one) => [one, folder])) };
  }
  const folders = CONTROLLERS.flatMap((controller) => {
    const own =
      lines
        .find(([, names]) => names?.split(",").includes(controller))
        ?.slice(2)
        .join(":") ?? "/";
    const found = [own, "/"].map((one) => path.join(source.mount, controller, one)).find(canMakeIn);
    return found === undefined ? [] : [[controller, found] as const];
  });
  return { version: 1, folders: Object.fromEntries(folders) };
}

/** A v2 cgroup that holds processes may give its children no controllers, unless it is the root of all. */
function isUsableV2(folder: string): boolean {
  if (!canMakeIn(folder)) return false;
  if (!controllersBelow(folder).includes("memory")) {
    try {
      writeFileSync(path.join(folder, "cgroup.subtree_control"), "+memory +pids +cpu");
    } catch {
      return false;
    }
  }
  return controllersBelow(folder).includes("memory");
}

function controllersBelow(folder: string): readonly Controller[] {
  const given = readText(path.join(folder, "cgroup.subtree_control")).trim().split(" ");
  return CONTROLLERS.filter((one) => one !== "freezer" && given.includes(one));
}

function canMakeIn(folder: string): boolean {
  const made = path.join(folder, `perdure-try-${process.pid}`);
  try {
    accessSync(folder, constants.W_OK);
    mkdirSync(made, { recursive: false });
    rmdirSync(made);
    return true;
  } catch {
    return false;
  }
}

/** The cgroup of one sandbox; it is there after `hold`. */
export interface SandboxCgroup {
  /** Makes what is missing of it (a reboot takes all), and gives the files by which a process joins. Throws what the system says. */
  hold(limits: ResourceLimits): readonly string[];
  /** Ids of all processes in it, also of those that have left every group and session. */
  processes(): readonly number[];
  /** The file that lists them, and how they are held still; undefined where there is no such cgroup. */
  readonly files: { readonly processes: string | undefined; readonly freezer: Freezer | undefined };
  /** Holds its processes still while `work` is done; undefined where the host cannot. Should this process die, they go on. */
  readonly frozen: (<T>(work: () => Promise<T>) => Promise<T>) | undefined;
  /** Kills all processes in it, however fast they start others, and waits a bounded time for them to be gone. */
  kill(): Promise<void>;
  /** Waits a moment for the last process to be gone. No error when it is not there. */
  remove(): Promise<void>;
}

/** `name` is the sandbox's folder: the same one for every process that finds the sandbox. */
export function sandboxCgroup({ version, folders }: CgroupPlaces, name: string): SandboxCgroup {
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 12);
  const own = (folder: string): string => path.join(folder, `perdure-${path.basename(name)}-${hash}`);
  const made = [...new Set(Object.values(folders).map(own))];
  const freezer = freezerOf(version, version === 2 ? made[0] : folders.freezer && own(folders.freezer));
  const processes = (): readonly number[] => [
    ...new Set(
      made.flatMap((folder) => readText(path.join(folder, "cgroup.procs")).split("\n").map(Number).filter(Boolean)),
    ),
  ];
  return {
    hold(limits) {
      for (const folder of made) mkdirSync(folder, { recursive: true });
      for (const controller of CONTROLLERS) {
        const folder = folders[controller];
        if (folder !== undefined) limit(version, own(folder), { controller, limits });
      }
      return made.map((folder) => path.join(folder, "cgroup.procs"));
    },
    processes,
    files: { processes: made[0] && path.join(made[0], "cgroup.procs"), freezer },
    frozen: freezer && ((work) => whileFrozen(freezer, work)),
    async kill() {
      for (let left = LIMITS.killRounds; left > 0 && processes().length > 0; left--) {
        // What is frozen neither starts another process nor ends, so that no number names a stranger by now.
        freezer?.set(true);
        for (const pid of processes()) signalKill(pid);
        freezer?.set(false);
        await new Promise((resolve) => setTimeout(resolve, KILL_ROUND_MS));
      }
    },
    async remove() {
      for (const folder of made) await removeCgroup(folder);
    },
  };
}

export interface Freezer {
  readonly file: string;
  readonly words: { readonly frozen: string; readonly thawed: string };
  /** As far as it is there and lets us. */
  set(isFrozen: boolean): void;
}

function freezerOf(version: 1 | 2, folder: string | undefined): Freezer | undefined {
  if (folder === undefined) return undefined;
  const file = path.join(folder, version === 2 ? "cgroup.freeze" : "freezer.state");
  const words = version === 2 ? { frozen: "1", thawed: "0" } : { frozen: "FROZEN", thawed: "THAWED" };
  return {
    file,
    words,
    set(isFrozen) {
      try {
        writeFileSync(file, isFrozen ? words.frozen : words.thawed);
      } catch {
        // It has gone with its last process, or this host has no freezer.
      }
    },
  };
}

/** Thaws when its standard input ends, which it also does when this process is killed, and after a bounded time. */
const FREEZE_SCRIPT = `
[ ! -e "$1" ] || echo "$2" >"$1"
echo
timeout -s KILL "$4" cat
[ ! -e "$1" ] || echo "$3" >"$1"
`;

async function whileFrozen<T>({ file, words }: Freezer, work: () => Promise<T>): Promise<T> {
  const seconds = String(Math.ceil(LIMITS.freezeMs / 1_000));
  const child = spawn("/bin/sh", ["-c", FREEZE_SCRIPT, "perdure", file, words.frozen, words.thawed, seconds], {
    env: { PATH: "/usr/bin:/bin" },
    cwd: "/",
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("close", () => resolve());
  });
  child.stdin.on("error", () => undefined);
  await Promise.race([ended, new Promise((resolve) => child.stdout.once("data", resolve))]);
  try {
    return await work();
  } finally {
    child.stdin.end();
    await ended;
  }
}

function signalKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}

function limit(
  version: 1 | 2,
  folder: string,
  { controller, limits }: { readonly controller: Controller; readonly limits: ResourceLimits },
): void {
  const write = (name: string, value: string | number): void => {
    const file = path.join(folder, name);
    if (readText(file).trim() !== String(value)) writeFileSync(file, String(value));
  };
  const memory = limits.memoryMiB * 1024 * 1024;
  if (controller === "memory" && version === 2) {
    write("memory.max", memory);
    if (existsSync(path.join(folder, "memory.swap.max"))) write("memory.swap.max", 0);
  }
  if (controller === "memory" && version === 1) {
    write("memory.limit_in_bytes", memory);
    const withSwap = "memory.memsw.limit_in_bytes";
    if (existsSync(path.join(folder, withSwap))) write(withSwap, memory);
  }
  if (controller === "pids") write("pids.max", limits.processesMax);
  if (controller === "cpu" && limits.cpu !== undefined) {
    const quota = Math.round(limits.cpu * CPU_PERIOD_US);
    if (version === 2) write("cpu.max", `${quota} ${CPU_PERIOD_US}`);
    else write("cpu.cfs_quota_us", quota);
  }
}

async function removeCgroup(folder: string): Promise<void> {
  for (let left = REMOVE_TRIES; left > 0 && existsSync(folder); left--) {
    try {
      rmdirSync(folder);
    } catch {
      // Its processes were killed and are on their way out.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
