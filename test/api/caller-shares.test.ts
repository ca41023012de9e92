/** What one caller may hold: never more than it leaves free. */
import { expect, test } from "vitest";
import { CallerShares, callerOf } from "../../api/caller-shares.ts";

function takenBy(shares: CallerShares, caller: string): number {
  let taken = 0;
  while (taken < 1_000 && shares.take(caller, 1)) taken++;
  return taken;
}

test("one caller alone gets half, and each who comes later half of what is left", () => {
  const shares = new CallerShares(64);

  expect(["a", "b", "c", "d"].map((caller) => takenBy(shares, caller))).toEqual([32, 16, 8, 4]);
  expect(shares.take("e", 1)).toBe(true);
});

test("what is given back is there for all", () => {
  const shares = new CallerShares(4);
  expect(takenBy(shares, "a")).toBe(2);
  expect(shares.take("b", 1)).toBe(true);
  expect(shares.take("b", 1)).toBe(false);

  shares.giveBack("a", 2);

  expect(shares.take("b", 1)).toBe(true);
  expect(shares.taken).toBe(2);
});

test("one large thing may take what is free, and then nothing more", () => {
  const shares = new CallerShares(10);

  expect([shares.take("a", 11), shares.take("a", 9), shares.take("a", 1), shares.take("b", 1)]).toEqual([
    false,
    true,
    false,
    true,
  ]);
});

test("what is there already is counted also when it is too much", () => {
  const shares = new CallerShares(10);

  expect([shares.grow("a", 4), shares.grow("a", 4), shares.taken]).toEqual([true, false, 8]);
  shares.giveBack("a", 8);
  expect(shares.taken).toBe(0);
});

test.each([
  ["::ffff:10.0.0.7", "10.0.0.7"],
  ["10.0.0.7", "10.0.0.7"],
  ["::1", "::1"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
  ["2001:db8::1", "2001:db8:0:0"],
  ["2001:db8:1:2::9", "2001:db8:1:2"],
  [undefined, ""],
])("a caller at %s is %s", (remoteAddress, caller) => {
  expect(callerOf({ remoteAddress })).toBe(caller);
});
