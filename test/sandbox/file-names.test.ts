/** Names of files as text: each has one, and it is the name of nothing else. */
import { expect, test } from "vitest";
import { bytesOfLine, bytesOfText, lineOfText, nameOfText, textOfName } from "../../sandbox/file-names.ts";

const NAMES = [
  "plain",
  "ü/日本語/🙂",
  "\\xff",
  "\\x5cxff",
  "\\x41",
  "\\",
  "a\\x",
  Buffer.from([0xff]),
  Buffer.from([0x5c, 0xff]),
  Buffer.from([0x5c, 0x78, 0xff]),
  Buffer.from("\\x80\xff", "latin1"),
  Buffer.from([0xc3, 0x61, 0xa9, 0xe2, 0x82]),
  Buffer.from([0xed, 0xa0, 0x80]),
].map((name) => Buffer.from(name));

test.each(NAMES.map((bytes) => [textOfName(bytes), bytes] as const))("%j stands for its bytes alone", (text, bytes) => {
  expect(text.isWellFormed()).toBe(true);
  expect(bytesOfText(text)).toEqual(bytes);
  expect(bytesOfLine(lineOfText(text))).toEqual(bytes);
});

test("all bytes, alone and in pairs, come back", () => {
  for (let one = 1; one < 256; one++) {
    for (const other of [[], [0x5c], [0x78], [0x80], [0xbf], [0xc3], [0x66]]) {
      const bytes = Buffer.from([one, ...other]);
      expect(bytesOfText(textOfName(bytes))).toEqual(bytes);
    }
  }
});

test("a text that no name has stands for itself, so that no name can be said in two ways", () => {
  // These bytes are an é, a slash, two dots and a NUL, which have names of their own.
  for (const text of ["\\xc3\\xa9", "\\x2f", "\\x2e\\x2e", "\\x00", "\\x5c", "\\xFF"])
    expect(nameOfText(text)).toBe(text);
});
