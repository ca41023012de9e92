/** The supervisor's scripts in every shell that this machine has: images differ in theirs. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readClaim, readEnd } from "../../sandbox/call-folder.ts";
import { KILL_SCRIPT, START_SCRIPT } from "../../sandbox/supervisor.ts";
import { eventually } from "./commands.ts";

const SHELLS: readonly (readonly [string, ...string[]])[] = [
  ["dash"],
  ["bash"],
  ["bash", "--posix"],
  ["busybox", "sh"],
  ["ksh"],
  ["zsh", "--emulate", "sh"],
];

let root: string;
let calls = 0;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "perdure-supervisor-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newCall(): string {
  const folder = path.join(root, `call_${++calls}`);
  mkdirSync(folder);
  return folder;
}

for (const [program, ...options] of SHELLS) {
  const isThere = spawnSync(program, [...options, "-c", "exit 7"]).status === 7;

  describe.skipIf(!isThere)(`the supervisor in ${[program, ...options].join(" ")}`, () => {
    const script = (text: string, ...args: string[]) =>
      spawn(program, [...options, "-c", text, "perdure", ...args], { detached: true, stdio: "ignore" });
    const start = (call: string, command: string, timeoutMs = 20_000) =>
      once(script(START_SCRIPT, call, root, String(timeoutMs), command), "exit");
    const kill = (call: string) => once(script(KILL_SCRIPT, call), "exit");

    test("runs a command, keeps its output and its exit code, and adds no word of its own", async () => {
      const call = newCall();

      await start(call, "echo out; echo err >&2; kill -9 $$");

      expect(readEnd(call)).toMatchObject({ ended: "signalled", signal: "SIGKILL" });
      expect(readFileSync(path.join(call, "stdout"), "utf8")).toBe("out\n");
      expect(readFileSync(path.join(call, "stderr"), "utf8")).toBe("err\n");
    });

    test("waits for the reason of a stop that has only just been made, and takes a missing one for a kill", async () => {
      const [young, dead] = [newCall(), newCall()];
      for (const call of [young, dead]) writeFileSync(path.join(call, "stop"), "");

      const started = start(young, "echo never");
      await eventually(() => readClaim(young) !== undefined, "the call is claimed");
      writeFileSync(path.join(young, "stop"), "timed_out\n");
      await Promise.all([started, start(dead, "echo never")]);

      expect(readEnd(young)).toMatchObject({ ended: "timed_out" });
      expect(readEnd(dead)).toMatchObject({ ended: "killed" });
    });

    test("lets one of 60 starters win", async () => {
      const call = newCall();

      await Promise.all(Array.from({ length: 60 }, () => start(call, `echo x >> '${call}/effects'`)));

      expect(readFileSync(path.join(call, "effects"), "utf8")).toBe("x\n");
    });

    test("ends a command at its timeout", async () => {
      const call = newCall();

      await start(call, "echo a; sleep 30 & sleep 30", 200);

      expect(readEnd(call)).toMatchObject({ ended: "timed_out" });
    });

    test("ends a command that is killed, and starts none that was killed before", async () => {
      const [call, early] = [newCall(), newCall()];
      const ended = start(call, "sleep 30");
      await eventually(() => readClaim(call)?.process !== undefined, "the command is claimed");

      await Promise.all([kill(call), kill(early), ended]);
      await start(early, `touch '${early}/ran'`);

      expect([readEnd(call), readEnd(early)]).toMatchObject([{ ended: "killed" }, { ended: "killed" }]);
      expect(() => readFileSync(path.join(early, "ran"))).toThrow(/ENOENT/);
    });

    test("cuts a spool that is too long to its head and tail", async () => {
      const call = newCall();

      await start(call, "head -c 80000000 /dev/zero | tr '\\0' x; echo END");

      const spool = readFileSync(path.join(call, "stdout"));
      expect(spool.length).toBe(80_000_004);
      expect(spool.subarray(-5).toString()).toBe("xEND\n");
      expect(spool.indexOf(0)).toBeGreaterThan(60_000_000);
    });
  });
}
