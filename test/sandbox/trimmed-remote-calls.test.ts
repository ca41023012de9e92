/** Call folders of a living sandbox on the far side of a connection stay within a bound, whatever it says of them. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import type { ExecChannel } from "../../sandbox/remote/channel.ts";
import { trimRemoteCalls, turns } from "../../sandbox/remote/trim-remote-calls.ts";
import { processChannel } from "../support/process-channel.ts";

let state: string;
let channel: ExecChannel;
beforeEach(() => {
  state = mkdtempSync(path.join(os.tmpdir(), "perdure-remote-calls-"));
  mkdirSync(path.join(state, "calls"));
  channel = processChannel(state, { PATH: process.env["PATH"] ?? "" });
});
afterEach(() => rmSync(state, { recursive: true, force: true }));

function call(name: string, { ended = true, ageMs = 60_000, bytes = 1 } = {}): void {
  const folder = path.join(state, "calls", name);
  mkdirSync(folder);
  writeFileSync(path.join(folder, "stdout"), Buffer.alloc(bytes));
  if (ended) writeFileSync(path.join(folder, "exit"), "exited 0 .\n");
  const at = new Date(Date.now() - ageMs);
  utimesSync(folder, at, at);
}

const left = (): readonly string[] => readdirSync(path.join(state, "calls")).filter((name) => !name.includes("_new"));

test("the newest stay, and of older ones those that have not ended or whose result is not committed", async () => {
  for (let n = 0; n < LIMITS.callFoldersKept; n++) call(`call_new${n}`);
  for (const name of ["call_committed", "call_open", "call_nobodys"]) call(name, { ageMs: 120_000 });
  call("call_running", { ageMs: 120_000, ended: false });
  call("call_nobodys_old", { ageMs: LIMITS.callUnknownKeptMs + 120_000 });
  const states: Record<string, boolean> = { call_committed: true, call_open: false, call_running: true };

  const trimmed = await trimRemoteCalls(channel, state, async (id) => (id.startsWith("call_new") ? true : states[id]));

  expect(trimmed).toBe(2);
  expect(left().toSorted()).toEqual(["call_nobodys", "call_open", "call_running"]);
  expect(readdirSync(path.join(state, "calls"))).toHaveLength(LIMITS.callFoldersKept + 3);
});

test("as long as they are few, nothing is asked of the store", async () => {
  call("call_a");
  call("call_b");

  const trimmed = await trimRemoteCalls(channel, state, () => Promise.reject(new Error("was asked")));

  expect([trimmed, left().length]).toEqual([0, 2]);
});

test("names that are no calls are never removed, and a sandbox without the folder has nothing to trim", async () => {
  for (let n = 0; n < LIMITS.callFoldersKept; n++) call(`call_new${n}`);
  for (const name of ["call_-rf", "call_a b", "..call_x", "call_$(touch x)"]) call(name, { ageMs: 120_000 });

  await trimRemoteCalls(channel, state, async () => true);

  expect(left().toSorted()).toEqual(["..call_x", "call_$(touch x)", "call_a b"]);
  expect(await trimRemoteCalls(channel, path.join(state, "gone"), async () => true)).toBe(0);
});

test("of many sandboxes each gets its turn", () => {
  const next = turns(2);
  const all = ["a", "b", "c", "d", "e"];

  expect([next(all), next(all), next(all), next(all)]).toEqual([["a", "b"], ["c", "d"], ["e"], ["a", "b"]]);
});
