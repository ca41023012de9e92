/** The state directory: strangers that have got an orphan's pid, files from another version, logs that grow. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { boundLog, logTail } from "../../cli/log-file.ts";
import { identityOf, isAlive, signalKnown, waitGone } from "../../cli/process-identity.ts";
import { Progress } from "../../cli/progress.ts";
import { StateDirectory } from "../../cli/state-directory.ts";
import { LIMITS } from "../../contract/limits.ts";
import { fillDisk, smallDisk } from "../support/small-disk.ts";
import { StateFolder, until } from "./fixtures/world.ts";

test("a stranger with an orphan's pid is neither an orphan nor signalled", async () => {
  using state = new StateFolder();
  await using stranger = sleeping();
  writeHolder(state, stranger.pid, "another-boot:1");

  using claimed = claim(state);

  expect(claimed.directory.orphans).toEqual([]);
  expect(signalKnown({ pid: stranger.pid, identity: "another-boot:1" }, "SIGKILL")).toBe(false);
  expect(identityOf(stranger.pid)).toBeDefined();
});

test("a process that a killed supervisor left behind is an orphan until it is gone", async () => {
  using state = new StateFolder();
  await using orphan = sleeping();
  const known = { pid: orphan.pid, identity: identityOf(orphan.pid) ?? "" };
  writeHolder(state, known.pid, known.identity);

  using claimed = claim(state);

  expect(claimed.directory.orphans).toEqual([{ name: "worker", ...known }]);
  expect(await waitGone([known], 0)).toEqual([known]);
  expect(signalKnown(known, "SIGKILL")).toBe(true);
  expect(await waitGone([known], 5_000)).toEqual([]);
  expect(isAlive(known)).toBe(false);
});

test("orphans are still known to the next holder when this one dies before it has stopped them", async () => {
  using state = new StateFolder();
  await using orphan = sleeping();
  writeHolder(state, orphan.pid, identityOf(orphan.pid) ?? "");

  using _claimed = claim(state);

  expect(JSON.parse(state.read("supervisor.json"))).toMatchObject({
    pid: process.pid,
    processes: [{ name: "worker", pid: orphan.pid }],
  });
});

test("on a full disk it says so, and is given back all the same", (context) => {
  const disk = smallDisk("256k");
  if (disk instanceof Error) return context.skip(`no small disk can be mounted here: ${disk.message}`);
  const directory = path.join(disk, "state");
  const claimed = StateDirectory.claim(directory);
  claimed.record([], { apiUrl: null, temporal: null });
  fillDisk(disk);

  expect(() => claimed.record([], { apiUrl: null, temporal: null })).toThrow("ENOSPC");
  claimed.release();

  expect(readdirSync(directory)).not.toContain("supervisor.json");
  const ballast = fillDisk(disk); // What it has given back.
  expect(() => StateDirectory.claim(directory)).toThrow(
    expect.objectContaining({ name: "StackError", kind: "state", message: expect.stringContaining("free some space") }),
  );
  rmSync(ballast);
  StateDirectory.claim(directory).release();
});

test.each(["", "{", '{"pid":"one"}', "[]"])(
  "a supervisor.json that holds %j tells nothing and stops nothing",
  (text) => {
    using state = new StateFolder();
    writeFileSync(state.file("supervisor.json"), text);
    using claimed = claim(state);
    expect(claimed.directory.orphans).toEqual([]);
  },
);

test("a directory that was released can be claimed again, and its list is empty", () => {
  using state = new StateFolder();
  const first = StateDirectory.claim(state.path);
  expect(() => StateDirectory.claim(state.path)).toThrow(/another perdure holds/);

  first.release();
  first.release();

  expect(state.entries()).toEqual([]);
  StateDirectory.claim(state.path).release();
});

test("a log over its limit moves aside and begins anew; the last lines can be quoted", () => {
  using state = new StateFolder();
  const log = state.file("worker.log");
  writeFileSync(log, "one\ntwo\n");
  boundLog(log);
  expect(logTail(log)).toBe("one\ntwo");

  truncateSync(log, LIMITS.logFileBytesMax + 1);
  boundLog(log);

  expect(statSync(log).size).toBe(0);
  expect(statSync(`${log}.1`).size).toBe(LIMITS.logFileBytesMax + 1);
  expect(logTail(log)).toBe("(empty)");
  expect(logTail(state.file("none.log"))).toBe("(no log)");
});

test("progress is silent for two seconds, then says what is waited for and for how long", async () => {
  const written: string[] = [];
  using progress = new Progress("starting", { write: (text: string) => written.push(text) > 0 });
  progress.update("waiting for temporal");
  expect(written).toEqual([]);
  await until("something is said", () => written.length > 0);
  expect(written).toEqual(["waiting for temporal … 2 s\n"]);
});

test("on a terminal the line of progress is taken away at the end", async () => {
  const written: string[] = [];
  const progress = new Progress("starting", { isTTY: true, write: (text: string) => written.push(text) > 0 });
  await until("something is said", () => written.length > 0);
  progress[Symbol.dispose]();
  expect(written.at(-1)).toBe("\r\u001b[2K");
});

function claim(state: StateFolder): Disposable & { readonly directory: StateDirectory } {
  const directory = StateDirectory.claim(state.path);
  return { directory, [Symbol.dispose]: () => directory.release() };
}

function writeHolder(state: StateFolder, pid: number, identity: string): void {
  const holder = { pid: 1, since: 0, apiUrl: null, processes: [{ name: "worker", pid, identity }] };
  writeFileSync(state.file("supervisor.json"), JSON.stringify(holder));
}

function sleeping(): AsyncDisposable & { readonly pid: number } {
  const child: ChildProcess = spawn("sleep", ["60"], { stdio: "ignore" });
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    pid: child.pid ?? -1,
    [Symbol.asyncDispose]: () => {
      child.kill("SIGKILL");
      return gone;
    },
  };
}
