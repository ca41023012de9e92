/** A session's share of looks and transfers: the others of the same session wait in order, and no other session does. */
import { expect, test } from "vitest";
import { SessionShares } from "../../api/session-shares.ts";
import type { SessionId } from "../../contract/ids.ts";

const BOUNDS = { atOnce: 2, waiting: 3, waitMs: 60_000 };
const [ONE, OTHER] = ["ses_one" as SessionId, "ses_other" as SessionId];

function aWork() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let hasBegun = false;
  const run = (): Promise<string> => {
    hasBegun = true;
    return promise;
  };
  return { run, end: resolve, fail: reject, hasBegun: () => hasBegun };
}

test("more than the share of one session waits in order, and another session's begins at once", async () => {
  const shares = new SessionShares(BOUNDS);
  const works = Array.from({ length: 5 }, aWork);
  const running = works.map(({ run }) => shares.run(ONE, run));
  const other = await shares.run(OTHER, async () => "done");

  expect(other).toBe("done");
  expect(works.map(({ hasBegun }) => hasBegun())).toEqual([true, true, false, false, false]);
  works[1]?.end("second");
  await running[1];
  await new Promise(setImmediate);
  expect(works.map(({ hasBegun }) => hasBegun())).toEqual([true, true, true, false, false]);
  for (const work of works) work.end("ended");
  await Promise.all(running);
});

test("one that fails leaves its place, as one that ends well does", async () => {
  const shares = new SessionShares({ ...BOUNDS, atOnce: 1 });
  const failing = aWork();
  const first = shares.run(ONE, failing.run);
  const second = shares.run(ONE, async () => "done");

  failing.fail(new Error("no such file"));

  await expect(first).rejects.toThrow("no such file");
  expect(await second).toBe("done");
});

test("too many that wait, and one that waits for too long, are refused in words, and are never done", async () => {
  const shares = new SessionShares({ atOnce: 1, waiting: 1, waitMs: 20 });
  const [work, late] = [aWork(), aWork()];
  const first = shares.run(ONE, work.run);
  const waiting = shares.run(ONE, late.run);

  await expect(shares.run(ONE, async () => "never")).rejects.toMatchObject({ kind: "unanswered" });
  await expect(waiting).rejects.toThrow("none has ended within 0.02 s");
  work.end("ended");
  await first;

  expect(late.hasBegun()).toBe(false);
  expect(await shares.run(ONE, async () => "again")).toBe("again");
});
