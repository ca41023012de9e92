/** Call folders of a living sandbox stay within a bound, and what a retry may look for stays. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { trimCalls } from "../../sandbox/trimmed-calls.ts";

let calls: string;
beforeEach(() => {
  calls = mkdtempSync(path.join(os.tmpdir(), "perdure-calls-"));
});
afterEach(() => rmSync(calls, { recursive: true, force: true }));

function call(name: string, { ended = true, ageMs = 60_000 } = {}): void {
  const folder = path.join(calls, `call_${name}`);
  mkdirSync(folder);
  writeFileSync(path.join(folder, "go"), "- - - 0 .\n");
  writeFileSync(path.join(folder, "stdout"), "x");
  if (ended) writeFileSync(path.join(folder, "exit"), "exited 0 .\n");
  const at = new Date(Date.now() - ageMs);
  utimesSync(folder, at, at);
}

test("the newest stay, and of older ones those that have not ended or whose result is not committed", async () => {
  for (let i = 0; i < LIMITS.callFoldersKept; i++) call(`new${i}`);
  call("committed", { ageMs: 120_000 });
  call("open", { ageMs: 120_000 });
  call("running", { ageMs: 120_000, ended: false });
  call("nobodys", { ageMs: 120_000 });
  call("nobodys_old", { ageMs: LIMITS.callUnknownKeptMs + 1_000 });
  const states: Record<string, boolean> = { call_committed: true, call_open: false, call_running: true };

  const trimmed = await trimCalls(calls, async (id) => (id.startsWith("call_new") ? true : states[id]));

  expect(trimmed).toBe(2);
  const left = readdirSync(calls).filter((name) => !name.startsWith("call_new"));
  expect(left.toSorted()).toEqual(["call_nobodys", "call_open", "call_running"]);
  expect(readdirSync(calls)).toHaveLength(LIMITS.callFoldersKept + 3);
});

test("a sandbox that is gone has nothing to trim", async () => {
  expect(await trimCalls(path.join(calls, "gone"), async () => true)).toBe(0);
});
