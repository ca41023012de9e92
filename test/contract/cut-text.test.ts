/** Cuts and JSON without half a character. */
import { expect, test } from "vitest";
import { cutText, endsInside, wellFormedJson } from "../../contract/cut-text.ts";

test.each([
  ["abc", 5, "abc"],
  ["abc", 2, "ab"],
  ["a😀b", 1, "a"],
  ["a😀b", 2, "a"],
  ["a😀b", 3, "a😀"],
  ["😀", 1, ""],
  ["a\ud83db", 2, "a\ud83d"],
])("%j cut at %i is %j", (text, units, cut) => {
  expect(cutText(text, units)).toBe(cut);
});

test("the first half of a character may have another one coming, the second has not", () => {
  expect([endsInside("a\ud83d"), endsInside("😀"), endsInside("\ude00"), endsInside("")]).toEqual([
    true,
    false,
    false,
    false,
  ]);
});

test("JSON holds no half of a character, in values, names or lists, and all else as it was", () => {
  const value = { a: "x\ud83dy", "k\ude00": ["\ud83d", 1, null, true], whole: "😀", written: "\\ud83d", n: undefined };

  const json = wellFormedJson(value);

  expect(json).not.toMatch(/(?<!\\)\\ud[89a-f]/);
  expect(JSON.parse(json)).toEqual({
    a: "x\ufffdy",
    "k\ufffd": ["\ufffd", 1, null, true],
    whole: "😀",
    written: "\\ud83d",
  });
  expect(wellFormedJson({ a: "😀" })).toBe('{"a":"😀"}');
});
