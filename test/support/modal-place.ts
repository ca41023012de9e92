/**
 * Where a sandbox of the Modal stand-in runs: a folder that is its own `/`, held by bubblewrap in namespaces of its own.
 *
 * Programs come from the host's /usr, read-only. Everything in it dies with its first process, and with the stand-in.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LINKS = ["bin", "sbin", "lib", "lib64"];
const SYSTEM = [
  ...["--ro-bind", "/usr", "/usr"],
  ...LINKS.flatMap((name) => ["--symlink", `usr/${name}`, `/${name}`]),
  ...["ld.so.cache", "alternatives", "passwd", "group"].flatMap((n) => ["--ro-bind-try", `/etc/${n}`, `/etc/${n}`]),
  ...["--proc", "/proc", "--dev", "/dev"],
];

export interface Place {
  /** What is `/` inside, as the host sees it. */
  readonly root: string;
  /** A command line that runs that program inside. */
  enter(argv: readonly string[], cwd: string): { readonly file: string; readonly arguments: readonly string[] };
  /** Every process that runs inside, by its id on this host. */
  pids(): Promise<readonly number[]>;
  /** Kills all that runs inside; the folder stays. */
  kill(): Promise<void>;
  /** Resolves when it is dead, by whatever. */
  readonly dead: Promise<void>;
}

/** Why there can be no such place on this machine; undefined when there can. */
export async function placeProblem(): Promise<string | undefined> {
  if (process.platform !== "linux") return "the Modal stand-in needs Linux";
  const root = await mkdtemp(path.join(tmpdir(), "perdure-modal-try-"));
  try {
    const place = await makePlace(root, { sharesNetwork: false });
    try {
      const { file, arguments: rest } = place.enter(["true"], "/");
      await promisify(execFile)(file, rest);
      return undefined;
    } finally {
      await place.kill();
    }
  } catch (error) {
    const words = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return `the Modal stand-in needs bwrap and nsenter: ${words}`;
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** The environment of everything that runs inside; nothing of the host's. */
export function placeEnvironment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { PATH, HOME: "/root", LANG: "C.UTF-8", ...more };
}

export async function makePlace(root: string, options: { readonly sharesNetwork: boolean }): Promise<Place> {
  // A snapshot of another place brings its own, which bwrap takes for something in the way.
  for (const name of LINKS) await rm(path.join(root, name), { force: true });
  await mkdir(path.join(root, "root"), { recursive: true });
  await mkdir(path.join(root, "tmp"), { recursive: true });
  await chmod(path.join(root, "tmp"), 0o1777);
  const spaces = [
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    ...(options.sharesNetwork ? [] : ["--unshare-net"]),
  ];
  const holder = spawn(
    "bwrap",
    [
      ...["--bind", root, "/", ...SYSTEM, ...spaces, "--die-with-parent", "--json-status-fd", "3"],
      ...["sh", "-c", "echo ready; exec sleep infinity"],
    ],
    { stdio: ["ignore", "pipe", "pipe", "pipe"], env: placeEnvironment() },
  );
  const pid = await firstProcess(holder);
  const dead = new Promise<void>((resolve) => holder.once("exit", () => resolve()));
  const entered = [
    ...["--target", String(pid), "--mount", "--pid", "--ipc", "--uts"],
    ...(options.sharesNetwork ? [] : ["--net"]),
    ...(process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"]),
  ];
  return {
    root,
    dead,
    enter: (argv, cwd) => ({
      file: "nsenter",
      arguments: [...entered, "--", "sh", "-c", 'cd "$0" && exec "$@"', cwd, ...argv],
    }),
    pids: () => processesBeside(pid),
    async kill() {
      if (holder.exitCode === null && holder.signalCode === null) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It is gone already.
        }
      }
      await dead;
    },
  };
}

async function firstProcess(holder: ChildProcess): Promise<number> {
  const [, output, errors, status] = holder.stdio;
  if (!output || !errors || !status || !("readable" in status)) throw new Error("bwrap has no pipes");
  let complaint = "";
  holder.stderr?.setEncoding("utf8").on("data", (data: string) => {
    complaint = (complaint + data).slice(-1_000);
  });
  const failed = new Promise<never>((_, reject) => {
    holder.once("error", reject);
    holder.once("exit", () => reject(new Error(complaint.trim() || "bwrap ended at once")));
  });
  failed.catch(() => {}); // Its end is no failure once it was ready.
  const lines = createInterface({ input: status as NodeJS.ReadableStream });
  const told = once(lines, "line").then(([line]) => (JSON.parse(String(line)) as { "child-pid": number })["child-pid"]);
  told.catch(() => {});
  // The pid comes before the folder is in its place; `ready` comes after.
  await Promise.race([once(output as NodeJS.ReadableStream, "data"), failed]);
  return await Promise.race([told, failed]);
}

/** Processes of the namespace that this process is the first of. */
async function processesBeside(pid: number): Promise<readonly number[]> {
  const space = await readlink(`/proc/${pid}/ns/pid`).catch(() => undefined);
  if (space === undefined) return [];
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (/^\d+$/.test(name) && (await readlink(`/proc/${name}/ns/pid`).catch(() => "")) === space) {
      found.push(Number(name));
    }
  }
  return found;
}
