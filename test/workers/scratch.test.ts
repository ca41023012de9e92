/** A worker's folder for what backends keep on disk: its own, gone with it, and swept after a kill. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { identityOf } from "../../cli/process-identity.ts";
import { isAlive, isGone, ownProcessName } from "../../workers/process-name.ts";
import { openScratch } from "../../workers/scratch.ts";
import { temporaryFolder } from "../store/store-builder.ts";

/** The id of a process that has lived, and does not any more. */
async function aDeadWorker(): Promise<string> {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  const id = `${hostname()}/${child.pid}:${identityOf(child.pid ?? 0)}`;
  child.kill("SIGKILL");
  await once(child, "exit");
  return id;
}

test("this process is alive and not gone, under its own name", () => {
  const name = ownProcessName(hostname());

  expect(isAlive(name.process)).toBe(true);
  expect(isGone(name.id, hostname())).toBe(false);
  expect(name.id).toBe(`${hostname()}/${name.process}`);
});

test("a process that has got the pid of a dead one is not taken for it", () => {
  expect(isAlive(`${process.pid}:another-boot:1`)).toBe(false);
});

test("of a worker on another host nothing is known, so it is not gone", () => {
  expect(isGone("another-host/1:x:1", hostname())).toBe(false);
  expect(isGone("", hostname())).toBe(false);
});

test("a worker's folder is removed at its end with all that is in it", async () => {
  using state = temporaryFolder();
  const scratch = openScratch(state.path, ownProcessName(hostname()).id);
  writeFileSync(path.join(scratch.folder, "left"), "x");

  await scratch[Symbol.asyncDispose]();

  expect(existsSync(scratch.folder)).toBe(false);
});

test("the folder of a killed worker is swept, those of a living one and of another host's stay", async () => {
  using state = temporaryFolder();
  await using own = openScratch(state.path, ownProcessName(hostname()).id);
  const dead = openScratch(state.path, await aDeadWorker());
  const elsewhere = openScratch(state.path, "another-host/1:x:1");

  await own.sweep();

  expect(existsSync(dead.folder)).toBe(false);
  expect([existsSync(own.folder), existsSync(elsewhere.folder)]).toEqual([true, true]);
});

test("what is no worker's folder is left alone", async () => {
  using state = temporaryFolder();
  await using own = openScratch(state.path, ownProcessName(hostname()).id);
  writeFileSync(path.join(state.path, "scratch", "a-file"), "x");

  await own.sweep();

  expect(readdirSync(path.join(state.path, "scratch"))).toContain("a-file");
});
