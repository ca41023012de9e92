/** Snapshots that callers ask for: one runs, one waits, and the others are covered by the one that waits. */
import { expect, test } from "vitest";
import { SnapshotTurns } from "../../activities/snapshot-turns.ts";
import type { SessionId } from "../../contract/ids.ts";

const ID = "ses_one" as SessionId;
const never = new AbortController().signal;

test("of many that come while one runs a single one follows, and it begins after the last of them came", async () => {
  const turns = new SnapshotTurns();
  const gate = Promise.withResolvers<void>();
  let runs = 0;
  const first = turns.run(ID, never, () => gate.promise);
  const followers = Array.from({ length: 50 }, () =>
    turns.run(ID, never, async () => {
      runs++;
    }),
  );
  await Promise.all(followers.slice(1)); // They are answered at once, and hold no slot.

  expect(runs).toBe(0);
  gate.resolve();
  await first;
  await followers[0];

  expect(runs).toBe(1);
});

test("one that fails holds up nobody, and one that is cut off while it waits leaves its place", async () => {
  const turns = new SnapshotTurns();
  const gate = Promise.withResolvers<void>();
  const cut = new AbortController();
  const first = turns.run(ID, never, () => gate.promise);
  const waiting = turns.run(ID, cut.signal, async () => undefined);
  cut.abort(new Error("this worker goes down"));
  await expect(waiting).rejects.toThrow("this worker goes down");
  let hasRun = false;
  const next = turns.run(ID, never, async () => {
    hasRun = true;
  });

  gate.reject(new Error("the disk is full"));

  await expect(first).rejects.toThrow("the disk is full");
  await next;
  expect(hasRun).toBe(true);
});
