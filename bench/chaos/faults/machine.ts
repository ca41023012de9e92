/**
 * A place of its own for chaos: a UTS namespace, whose host name may change, and a disk of bounded size, which may be full.
 * Needs Linux and root; elsewhere the two faults that need it are skipped, and the run says so.
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const INSIDE = "PERDURE_CHAOS_DISK";
const DISK_MIB = 3_072;
const SET_UP = 'mount -t tmpfs -o size="$1"m,mode=700 tmpfs "$2" && shift 2 && exec "$@"';
const UNSHARE = ["--uts", "--mount", "--propagation", "private"];

/** The folder of the bounded disk; undefined outside of such a place. */
export function boundedDisk(): string | undefined {
  return process.env[INSIDE] || undefined;
}

/** Runs this program again inside such a place, and answers with its exit code; undefined when there can be none. */
export async function runInside(): Promise<number | undefined> {
  if (boundedDisk() !== undefined || process.platform !== "linux" || process.getuid?.() !== 0) return undefined;
  const disk = mkdtempSync(path.join(tmpdir(), "perdure-chaos-"));
  const place = [...UNSHARE, "sh", "-c", SET_UP, "sh", String(DISK_MIB), disk];
  try {
    if (spawnSync("unshare", [...place, "true"], { stdio: "ignore" }).status !== 0) return undefined;
    const env = { ...process.env, [INSIDE]: disk, TMPDIR: disk, PERDURE_CHAOS_KEEP: tmpdir() };
    const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    const child = spawn("unshare", [...place, ...program], { stdio: "inherit", env });
    return await new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
  } finally {
    rmSync(disk, { recursive: true, force: true });
  }
}

/** The disk goes with the place: what a person is to look at is copied out of it. Returns where it is. */
export function keepOutside(folder: string): string {
  const outside = process.env["PERDURE_CHAOS_KEEP"];
  if (boundedDisk() === undefined || outside === undefined) return folder;
  const kept = path.join(outside, path.basename(folder));
  cpSync(folder, kept, { recursive: true, filter: (name) => !name.endsWith(".balloon") });
  return kept;
}

export function setHostName(name: string): void {
  const { status } = spawnSync("hostname", [name], { stdio: "ignore" });
  if (status !== 0) throw new Error(`the host name cannot be changed (exit code ${status})`);
}

/** Fills the disk to its last block; what is returned empties it again. */
export function fillDisk(disk: string): () => void {
  const balloon = path.join(disk, "chaos.balloon");
  const { bavail, bsize } = statfsSync(disk);
  spawnSync("fallocate", ["-l", String(bavail * bsize), balloon], { stdio: "ignore" });
  return () => rmSync(balloon, { force: true });
}
