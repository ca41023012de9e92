/** Text patterns: what a star stands for, and that no pattern makes a text be read over and over. */
import { describe, expect, test } from "vitest";
import { type Characters, compilePattern, HOLE, matches, mightMatch, occursIn } from "../../policy/patterns.ts";
import { createRandom, pick } from "./random.ts";

test.each([
  ["", ""],
  ["a", "a"],
  ["*", ""],
  ["*", "a\nb"],
  ["**", "a"],
  ["a*", "a"],
  ["a*c", "abbc"],
  ["a*b*c", "a b b c"],
  ["*b*", "abc"],
  ["*aab*", "aaab"],
  ["a\\*", "a*"],
  ["a\\b", "a\\b"],
  ["constructor", "constructor"],
])("%j matches %j", (pattern, text) => {
  expect(matches(compilePattern(pattern), text)).toBe(true);
});

test.each([
  ["", "a"],
  ["a", ""],
  ["a", "A"],
  ["a", "ab"],
  ["a*", "ba"],
  ["aa*aa", "aaa"],
  ["a*b*c", "acb"],
  ["a\\*", "ab"],
  [".", "a"],
  ["(a|b)+", "a"],
  ["[a]", "a"],
  ["a", HOLE],
  ["a\0", `a${HOLE}`],
])("%j does not match %j", (pattern, text) => {
  expect(matches(compilePattern(pattern), text)).toBe(false);
});

test("patterns agree with a regular expression of the same meaning", () => {
  const random = createRandom(7);
  for (let round = 0; round < 3_000; round += 1) {
    const pattern = Array.from({ length: 6 }, () => pick(random, ["a", "b", "*", "ab"])).join("");
    const text = Array.from({ length: 8 }, () => pick(random, ["a", "b"])).join("");
    const expected = new RegExp(`^${pattern.replace(/\*+/g, ".*")}$`).test(text);
    // A string is searched by the engine, other texts character by character.
    const characters: Characters = { length: text.length, charCodeAt: (index) => text.charCodeAt(index) };
    const found = [text, characters].map((one) => matches(compilePattern(pattern), one));
    expect([pattern, text, ...found]).toEqual([pattern, text, expected, expected]);
  }
});

test.each(["*a*a*a*a*a*a*a*a*a*b", `*${"a".repeat(500)}b*`, `*${"ab".repeat(200)}c`, "a".repeat(999), "*".repeat(999)])(
  "a text is read a fixed number of times, whatever the pattern",
  (pattern) => {
    let reads = 0;
    const text: Characters = {
      length: 50_000,
      charCodeAt: () => {
        reads += 1;
        return 97;
      },
    };

    matches(compilePattern(pattern), text);

    expect(reads).toBeLessThanOrEqual(2 * text.length + pattern.length);
  },
);

describe("a text with holes", () => {
  test.each([
    ["rm *", `${HOLE}`],
    ["rm *", `rm${HOLE}`],
    ["git push *", `git ${HOLE}`],
    ["*--force*", `git log ${HOLE}`],
    ["git * x", `git ${HOLE} x`],
  ])("might match %j: %j", (pattern, text) => {
    expect(mightMatch(compilePattern(pattern), text)).toBe(true);
  });

  test.each([
    ["rm *", "rm x"],
    ["git push *", `git log ${HOLE}`],
    ["*x", `git ${HOLE} y`],
    ["rm", `ls ${HOLE}`],
  ])("cannot match %j: %j", (pattern, text) => {
    expect(mightMatch(compilePattern(pattern), text)).toBe(false);
  });
});

describe("a pattern somewhere in a text", () => {
  test.each([
    ["rm *", "x; rm"],
    ["rm *", "x=rm;"],
    ["rm *", "/bin/rm a"],
    ["rm", "a rm b"],
    ["git push*--force", "a git push b --force c"],
    ["*secret*", "mysecrets"],
    ["rm *", "farm rm"],
    ["* > x", "a > x"],
  ])("is found: %j in %j", (pattern, text) => {
    expect(occursIn(compilePattern(pattern), text)).toBe(true);
  });

  test.each([
    ["rm *", "farm"],
    ["rm *", "rmdir x"],
    ["rm *", "a-rm.b"],
    ["git push*--force", "--force git push"],
    ["rm", "årm"],
  ])("is not found: %j in %j", (pattern, text) => {
    expect(occursIn(compilePattern(pattern), text)).toBe(false);
  });
});
