/** A disk that is soon full, for one test. Needs root, to mount it. */
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";

/** Where it is, or why there is none. It goes with the test. */
export function smallDisk(size: string): string | Error {
  const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-small-"));
  const place = path.join(folder, "disk");
  mkdirSync(place);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", place], { encoding: "utf8" });
  onTestFinished(() => {
    if (mounted.status === 0) spawnSync("umount", ["-l", place]);
    rmSync(folder, { recursive: true, force: true });
  });
  return mounted.status === 0 ? place : new Error(mounted.stderr || String(mounted.error));
}

/** Takes all of it but `leave` bytes; returns the file that does. */
export function fillDisk(disk: string, leave = 0): string {
  const { bavail, bsize } = statfsSync(disk);
  const file = path.join(disk, `ballast-${randomUUID()}`);
  writeFileSync(file, Buffer.alloc(bavail * bsize - leave));
  return file;
}
