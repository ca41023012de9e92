/** Numbers of processes and groups come back: what ends a sandbox, a command or a terminal never ends a stranger. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import { processState } from "../../sandbox/call-folder.ts";
import { isMountedAt, killSession } from "../../sandbox/host-processes.ts";
import { createLocalProvider } from "../../sandbox/local.ts";
import { eventually, newCallId, processesWith, run, startedCommand } from "./commands.ts";

const root = mkdtempSync(path.join(os.tmpdir(), "perdure-strangers-"));
const provider = createLocalProvider({ root });
const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
const hasProc = process.platform === "linux";
let count = 0;
const newId = (): SandboxId => `sbx_stranger_${process.pid}_${++count}`;
const strangers: number[] = [];

afterAll(() => {
  for (const pid of strangers) signal(pid, "SIGKILL");
  rmSync(root, { recursive: true, force: true });
});
beforeAll(() => expect(hasProc).toBe(true));

/** A group without its leader, as a daemon leaves it: the number is the leader's, which a command of ours had before. */
async function strangeGroup(environment: Record<string, string> = {}): Promise<{ group: number; member: number }> {
  const word = `4${Math.floor(Math.random() * 1e9)}`;
  const leader: ChildProcess = spawn("sh", ["-c", `sleep ${word} & exit 0`], {
    cwd: "/",
    detached: true,
    stdio: "ignore",
    env: { PATH: process.env["PATH"], ...environment },
  });
  await new Promise((resolve) => leader.once("exit", resolve));
  const group = leader.pid ?? 0;
  await eventually(() => processesWith(word).length === 1, "the stranger runs");
  const [member = 0] = processesWith(word);
  strangers.push(member);
  expect(processState(group)).toBeUndefined();
  return { group, member };
}

/** Not every first process of a container reaps: a zombie has been killed. */
const lives = (pid: number): boolean => /\) [^ZX]/.test(readText(`/proc/${pid}/stat`));

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

function claimOf(id: SandboxId, pid: number): string {
  const callId = newCallId();
  const call = path.join(root, id, "calls", callId);
  mkdirSync(call);
  for (const name of ["stdout", "stderr"]) writeFileSync(path.join(call, name), "");
  writeFileSync(path.join(call, "go"), `${pid} 12345 ${boot} 60000 .\n`);
  return callId;
}

test("removing a sandbox does not kill a group that got the number of a command that has ended", async () => {
  const sandbox = await provider.open(newId());
  const { group, member } = await strangeGroup();
  claimOf(sandbox.id, group);

  await provider.remove(sandbox.id);

  expect(lives(member)).toBe(true);
});

test("stopping a command does not kill a group that got its number since", async () => {
  const sandbox = await provider.open(newId());
  const { group, member } = await strangeGroup();
  const callId = claimOf(sandbox.id, group) as `call_${string}`;

  await sandbox.kill(callId);

  expect(lives(member)).toBe(true);
  await provider.remove(sandbox.id);
});

test("closing a terminal does not kill a session that got the number of its shell", async () => {
  const { group, member } = await strangeGroup();
  expect(processState(member)?.session).toBe(group);

  killSession({ leader: group, startedAt: "12345", mark: ["PERDURE_TERMINAL", "a"] });
  killSession({ leader: group, startedAt: undefined, mark: ["PERDURE_TERMINAL", "a"] });

  expect(lives(member)).toBe(true);
});

test("what a terminal has left in its session is ended by its mark", async () => {
  const { group, member } = await strangeGroup({ PERDURE_TERMINAL: "mine" });

  killSession({ leader: group, startedAt: "12345", mark: ["PERDURE_TERMINAL", "mine"] });

  await eventually(() => !lives(member), "it is gone");
});

test("what a command has left behind is still known when its parent is gone, by its mark, its spools or its folder", async () => {
  const sandbox = await provider.open(newId());
  const leftBehind = [
    (word: string) => `sleep ${word} >/dev/null 2>&1 & echo up; wait`,
    (word: string) => `(cd /; exec env -i sleep ${word}) & echo up; wait`,
    (word: string) => `cd "$HOME"; env -i sleep ${word} >/dev/null 2>&1 & echo up; wait`,
  ];
  for (const [index, command] of leftBehind.entries()) {
    const word = `3${Math.floor(Math.random() * 1e9)}`;
    const callId = await startedCommand(sandbox, command(word));
    const [pid] = readFileSync(path.join(root, sandbox.id, "calls", callId, "go"), "utf8").split(" ");
    await eventually(() => processesWith(word).length > 0, "it runs");
    // The parent, its watcher and its shell, but not what was left behind.
    const group = Number(pid);
    for (const one of processesWith(callId)) if (processState(one)?.group === group) signal(one, "SIGKILL");
    await eventually(() => processState(group) === undefined, "the leader is gone");
    expect(processesWith(word)).not.toEqual([]);

    if (index === 0) await sandbox.kill(callId);
    else await provider.remove(sandbox.id);

    await eventually(() => processesWith(word).length === 0, `left behind ${index} is gone`);
    await provider.open(sandbox.id);
  }
  await provider.remove(sandbox.id);
});

test("a command knows the call that it is, and nothing of the host's environment besides", async () => {
  const sandbox = await provider.open(newId());

  const ran = await run(sandbox, 'echo "$PERDURE_CALL"');

  expect(ran.stdout.toString()).toBe(`${ran.callId}\n`);
  await provider.remove(sandbox.id);
});

test("somebody else's /workspace is not taken for a sandbox's", () => {
  const line = (shown: string) => `36 35 98:0 ${shown} /workspace rw,noatime - ext4 /dev/vda rw\n`;
  const folder = "/state/sandboxes/sbx_one/workspace";
  const isOurs = (shown: string): boolean => isMountedAt(line(shown), folder, "/workspace");

  // A file system may be mounted at any folder above: its own names begin there.
  expect([folder, "/sandboxes/sbx_one/workspace", "/sbx_one/workspace"].map(isOurs)).toEqual([true, true, true]);
  expect(["/workspace", "/", "/sbx_two/workspace", "/other/sbx_one/workspace"].map(isOurs)).toEqual([
    false,
    false,
    false,
    false,
  ]);
});
