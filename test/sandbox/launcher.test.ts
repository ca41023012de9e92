/** The launcher: what it starts outlives it, and its loss is not noticed by those who ask. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Launcher } from "../../sandbox/launcher.ts";
import { waitFor } from "../support/world.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "perdure-launcher-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const env = { PATH: "/usr/bin:/bin" };
const launcherPids = (): readonly number[] =>
  execFileSync("ps", ["-o", "pid=,args=", "--ppid", String(process.pid)], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes("launcher-process"))
    .map((line) => Number(line.trim().split(" ")[0]));

test("a script runs with the arguments and the environment that it was given, and with nothing of ours", async () => {
  const out = path.join(folder, "out");
  await new Launcher().run({ script: 'echo "$1" > "$2"; env >> "$2"', args: ["a b", out], env: { ...env, MARK: "1" } });

  const lines = readFileSync(out, "utf8").trim().split("\n");
  expect(lines[0]).toBe("a b");
  expect(lines).toContain("MARK=1");
  expect(lines.filter((line) => /^(HOME|NODE_|OPENAI|VITEST)/.test(line))).toEqual([]);
});

test("a launcher that is killed in the middle of a request is replaced, and the request is answered", async () => {
  const launcher = new Launcher();
  await launcher.run({ script: ":", args: [], env });
  const [pid] = launcherPids();
  expect(pid).toBeDefined();

  const asked = launcher.run({ script: 'sleep 0.3; echo done >> "$1"', args: [path.join(folder, "out")], env });
  process.kill(pid ?? 0, "SIGKILL");
  await asked;

  await waitFor("the script has run", () => existsSync(path.join(folder, "out")));
  await launcher.run({ script: 'echo again > "$1"', args: [path.join(folder, "again")], env });
  expect(readFileSync(path.join(folder, "again"), "utf8")).toBe("again\n");
});

test("what a launcher has started outlives it", async () => {
  const launcher = new Launcher();
  const out = path.join(folder, "out");
  await launcher.run({ script: 'exec >/dev/null; sleep 0.4; echo outlived > "$1"', args: [out], env });
  for (const pid of launcherPids()) process.kill(pid, "SIGKILL");

  await waitFor("it has ended by itself", () => existsSync(out));
  expect(readFileSync(out, "utf8")).toBe("outlived\n");
});
