/** Cutting UTF-8 without cutting a character. */
import { expect, test } from "vitest";
import { decode, headOf, incompleteBytes, tailOf } from "../../tools/utf8.ts";

const bytes = new TextEncoder().encode("aé€😀z");

test("no cut of a text, at any byte, cuts a character", () => {
  for (let length = 0; length <= bytes.length; length++) {
    expect("aé€😀z".startsWith(decode(headOf(bytes, length)))).toBe(true);
    expect("aé€😀z".endsWith(decode(tailOf(bytes, length)))).toBe(true);
    expect(headOf(bytes, length).length).toBeGreaterThan(length - 4);
    expect(tailOf(bytes, length).length).toBeGreaterThan(length - 4);
  }
});

test("the bytes of a character that has begun are counted", () => {
  expect([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((end) => incompleteBytes(bytes.subarray(0, end)))).toEqual([
    0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 0,
  ]);
});

test("bytes that are no UTF-8 are never held back", () => {
  for (const wrong of [[0x80], [0x80, 0x80, 0x80, 0x80], [0xff], [0xff, 0x80], [0x61, 0x80], []]) {
    expect(incompleteBytes(Uint8Array.from(wrong))).toBe(0);
  }
});
