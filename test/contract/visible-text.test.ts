/** What does not show, or shows as something else, is named; ordinary text stays as it is. */
import { describe, expect, test } from "vitest";
import { hiddenIn, visibleJson, visibleProse, visibleText } from "../../contract/visible-text.ts";

const HIDDEN: readonly (readonly [string, string])[] = [
  ["\u200b", "zero width space"],
  ["\u200d", "zero width joiner"],
  ["\u2060", "word joiner"],
  ["\ufeff", "byte order mark"],
  ["\u00ad", "soft hyphen"],
  ["\u202e", "right-to-left override"],
  ["\u2066", "isolate"],
  ["\u061c", "Arabic letter mark"],
  ["\u001b", "escape"],
  ["\u009b", "control sequence introducer"],
  ["\u0000", "NUL"],
  ["\r", "carriage return"],
  ["\u007f", "delete"],
  ["\u0085", "next line"],
  ["\u2028", "line separator"],
  ["\u2029", "paragraph separator"],
  ["\u{e0041}", "tag"],
  ["\u{e0100}", "variation selector 17"],
  ["\ufe0f", "variation selector 16"],
  ["\u3164", "Hangul filler"],
  ["\u034f", "grapheme joiner"],
  ["\u00a0", "no-break space"],
  ["\u3000", "ideographic space"],
  ["\u2800", "blank of Braille"],
  ["\ue000", "private use"],
  ["\ud800", "half of a pair"],
  ["\uffff", "no character"],
];

test.each(HIDDEN)("%j (%s) is named in what somebody decides about", (character) => {
  const shown = visibleText(`rm ${character}x`);

  expect(shown).toMatch(/^rm <U\+[0-9A-F]{4,6}>x$/);
  expect(visibleText(shown)).toBe(shown);
  expect(hiddenIn(`a${character}`)).toMatch(/^U\+[0-9A-F]{4,6}$/);
});

test.each(HIDDEN.filter(([character]) => character.isWellFormed()))(
  "%j (%s) is escaped in JSON, to the same value",
  (character) => {
    const json = visibleJson(JSON.stringify({ [character]: [`a${character}`, "\n\t"] }, null, 2));

    expect(json).not.toContain(character);
    expect(JSON.parse(json)).toEqual({ [character]: [`a${character}`, "\n\t"] });
  },
);

describe("ordinary text", () => {
  test.each(["git commit -m 'ünïcödé 日本語 עברית'", "a\n\tb c", "if (a && b) { $x } // <U+202E>"])(
    "%j stays",
    (text) => {
      expect(visibleText(text)).toBe(text);
      expect(hiddenIn(text)).toBe("");
    },
  );

  test("keeps its emoji in prose, and no mark that turns it around", () => {
    expect(visibleProse("👨‍👩‍👧 ❤️ a\u00a0b")).toBe("👨‍👩‍👧 ❤️ a\u00a0b");
    expect(visibleProse("a\u202eb\u200bc")).toBe("a<U+202E>b<U+200B>c");
  });
});
