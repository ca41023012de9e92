/** Cgroups of both versions, found and written in folders that look like the kernel's. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findCgroupPlaces, sandboxCgroup } from "../../sandbox/cgroup.ts";

let mount: string;
beforeEach(() => {
  mount = mkdtempSync(path.join(os.tmpdir(), "perdure-cgroup-"));
});
afterEach(() => rmSync(mount, { recursive: true, force: true }));

const LIMITS_GIVEN = { memoryMiB: 64, processesMax: 100, cpu: 1.5 };

function unified(folder: string, controllers: string): void {
  mkdirSync(path.join(mount, folder), { recursive: true });
  writeFileSync(path.join(mount, folder, "cgroup.subtree_control"), controllers);
}

test("version 2: the own cgroup is used when it gives its children what limits them", () => {
  writeFileSync(path.join(mount, "cgroup.controllers"), "cpu memory pids");
  unified("own", "cpu memory pids\n");

  const places = findCgroupPlaces({ mount, self: "0::/own\n" });

  const own = path.join(mount, "own");
  expect(places).toEqual({ version: 2, folders: { memory: own, pids: own, cpu: own } });
  const [joined = ""] = sandboxCgroup(places, "/x/sbx_a").hold(LIMITS_GIVEN);
  const made = path.dirname(joined);
  expect(readFileSync(path.join(made, "memory.max"), "utf8")).toBe(String(64 * 2 ** 20));
  expect(readFileSync(path.join(made, "pids.max"), "utf8")).toBe("100");
  expect(readFileSync(path.join(made, "cpu.max"), "utf8")).toBe("150000 100000");
});

test("version 2: the cgroup above is used when the own one cannot, and a controller that is not given is left out", () => {
  writeFileSync(path.join(mount, "cgroup.controllers"), "cpu memory pids");
  unified("slice", "memory pids");
  mkdirSync(path.join(mount, "slice/own"));
  mkdirSync(path.join(mount, "slice/own/cgroup.subtree_control")); // Cannot be written, as if processes were in it.

  const places = findCgroupPlaces({ mount, self: "0::/slice/own\n" });

  expect(Object.keys(places.folders).toSorted()).toEqual(["memory", "pids"]);
  expect(places.folders.memory).toBe(path.join(mount, "slice"));
});

test("version 1: each controller has its own place, and a sandbox the same one for every process", () => {
  for (const folder of ["memory/own", "pids", "cpu"]) mkdirSync(path.join(mount, folder), { recursive: true });

  const places = findCgroupPlaces({ mount, self: "4:memory:/own\n8:pids:/\n1:cpu,cpuacct:/gone\n" });

  expect(places).toEqual({
    version: 1,
    folders: { memory: path.join(mount, "memory/own"), pids: path.join(mount, "pids/"), cpu: path.join(mount, "cpu/") },
  });
  const first = sandboxCgroup(places, "/x/sbx_a").hold({ ...LIMITS_GIVEN, cpu: undefined });
  expect(sandboxCgroup(places, "/x/sbx_a").hold(LIMITS_GIVEN)).toEqual(first);
  expect(sandboxCgroup(places, "/y/sbx_a").hold(LIMITS_GIVEN)).not.toEqual(first);
  expect(first).toHaveLength(3);
  expect(readdirSync(mount).toSorted()).toEqual(["cpu", "memory", "pids"]);
});

test("where none can be made there is no place, and the kernel's own folder is left as it was", () => {
  expect(findCgroupPlaces({ mount: path.join(mount, "missing"), self: "" })).toEqual({ version: 1, folders: {} });
  expect(existsSync(path.join(mount, "missing"))).toBe(false);
});

test.skipIf(process.getuid?.() === 0)(
  "a place that may not be written is none (skipped: root may write everywhere)",
  () => {
    mkdirSync(path.join(mount, "memory"));
    chmodSync(path.join(mount, "memory"), 0o555);
    expect(findCgroupPlaces({ mount, self: "4:memory:/\n" })).toEqual({ version: 1, folders: {} });
  },
);
