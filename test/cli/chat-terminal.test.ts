/** The parts of the chat's terminal: a line that is edited, and a bottom that stays while text scrolls above it. */
import { describe, expect, test } from "vitest";
import { argumentRows } from "../../cli/arguments-text.ts";
import { LineEditor } from "../../cli/chat/line-editor.ts";
import { readLine } from "../../cli/chat/slash-commands.ts";
import { Terminal } from "../../cli/chat/terminal.ts";
import { columnAfter, fitted, textWidth } from "../../cli/text-width.ts";
import { TestTerminal } from "../support/terminal.ts";

const plain = (text: string): string => text;
const bottom = (line: string, rows: readonly string[] = []) => ({
  rows: rows.map((text) => ({ text, style: plain })),
  ...{ label: "› ", labelStyle: plain, line, cursor: 2 + textWidth(line) },
});

describe("the bottom", () => {
  test("stays below text that comes in pieces, and no piece is lost", () => {
    const seen = new TestTerminal(20);
    const terminal = new Terminal(seen.io().stdout);
    terminal.show(bottom("typed", ["waiting"]));
    for (const piece of ["one ", "two", "\nthree ", "four\n"]) terminal.write(piece);

    expect(seen.screen).toBe("one two\nthree four\nwaiting\n› typed");
    expect(seen.cursorColumn).toBe(7);
  });

  test.each([1, 2, 3, 7, 19, 20, 21, 40, 41])(
    "text in pieces of %i characters wraps as if it had come at once",
    (size) => {
      const seen = new TestTerminal(20);
      const terminal = new Terminal(seen.io().stdout);
      terminal.show(bottom("typed"));
      const text = "abcdefghijklmnopqrstuvwxyz".repeat(5);
      for (let i = 0; i < text.length; i += size) terminal.write(text.slice(i, i + size));

      const rows = text.match(/.{1,20}/g) ?? [];
      expect(seen.screen).toBe([...rows, "› typed"].join("\n"));
    },
  );

  test("wide characters and styles are measured as a terminal does", () => {
    const seen = new TestTerminal(20);
    const terminal = new Terminal(seen.io().stdout);
    terminal.show(bottom(""));
    for (const piece of ["\u001b[1m日本語日本語日本\u001b[22m", "語日本語", " end"]) terminal.write(piece);

    expect(seen.screen).toBe("日本語日本語日本語日\n本語 end\n›");
  });

  test("goes away without a trace", () => {
    const seen = new TestTerminal(40);
    const terminal = new Terminal(seen.io().stdout);
    terminal.show(bottom("typed", ["one", "two"]));
    terminal.write("text");
    terminal[Symbol.dispose]();

    expect(seen.screen.trimEnd()).toBe("text");
  });

  test("a row that is too long is cut, so that it never takes two", () => {
    expect(fitted("abcdefgh", 5)).toBe("abcd…");
    expect(fitted("日本語", 4)).toBe("日…");
    expect(fitted("abc", 3)).toBe("abc");
  });

  test("the column behind a text is where the cursor is", () => {
    expect(columnAfter(0, "abc\n\u001b[31mde\u001b[39m", 10)).toBe(2);
    expect(columnAfter(8, "abc", 10)).toBe(1);
    expect(columnAfter(8, "ab", 10)).toBe(10);
  });
});

describe("the line", () => {
  test.each<[string, readonly object[], string]>([
    ["a letter goes where the cursor is", [{ name: "left" }, { sequence: "x" }], "one twxo"],
    [
      "Ctrl-A and Ctrl-E go to the ends",
      [{ ctrl: true, name: "a" }, { sequence: "x" }, { ctrl: true, name: "e" }, { sequence: "y" }],
      "xone twoy",
    ],
    ["Ctrl-W takes a word away", [{ ctrl: true, name: "w" }], "one "],
    ["Ctrl-U takes all before the cursor away", [{ name: "left" }, { ctrl: true, name: "u" }], "o"],
    ["Ctrl-K takes all behind it away", [{ name: "home" }, { ctrl: true, name: "k" }], ""],
    ["Delete takes what is under it away", [{ name: "home" }, { name: "delete" }], "ne two"],
    ["Alt-Enter breaks the line", [{ name: "return", meta: true }, { sequence: "x" }], "one two\nx"],
    ["a function key is no text", [{ name: "f5", sequence: "\u001b[15~" }], "one two"],
    ["an unknown Ctrl key is no text", [{ ctrl: true, name: "q", sequence: "\u0011" }], "one two"],
  ])("%s", (_what, keys, expected) => {
    const editor = new LineEditor();
    editor.set("one two");
    for (const key of keys) editor.press(key);

    expect(editor.text).toBe(expected);
  });

  test("a picture of several code points is one character", () => {
    const editor = new LineEditor();
    editor.set("a👩‍💻");
    editor.press({ name: "backspace" });

    expect(editor.text).toBe("a");
  });

  test("what was said before comes back, and what was being typed too", () => {
    const editor = new LineEditor();
    for (const line of ["one", "two"]) {
      editor.set(line);
      editor.take();
    }
    editor.insert("dra");
    for (const name of ["up", "up", "up"]) editor.press({ name });
    expect(editor.text).toBe("one");
    for (const name of ["down", "down", "down"]) editor.press({ name });
    expect(editor.text).toBe("dra");
  });

  test("a long line scrolls, and the cursor is always seen", () => {
    const editor = new LineEditor();
    editor.insert("abcdefghij");
    expect(editor.view(5)).toEqual({ line: "ghij", cursor: 4 });
    editor.press({ name: "home" });
    expect(editor.view(5)).toEqual({ line: "abcde", cursor: 0 });
  });

  test("line breaks and control characters are shown as signs", () => {
    const editor = new LineEditor();
    editor.insert("a\r\nb\u001bc\u202e");

    expect(editor.view(20).line).toBe("a⏎b·c·");
  });
});

describe("what a line is", () => {
  test.each<[string, object]>([
    ["  ", { type: "nothing" }],
    ["hello", { type: "message", text: "hello" }],
    ["//etc is a path", { type: "message", text: "/etc is a path" }],
    ["/queue", { type: "command", name: "queue", rest: "" }],
    ["/queue do this\nand that", { type: "message", text: "do this\nand that", mode: "queue" }],
    ["/interrupt stop it", { type: "message", text: "stop it", mode: "interrupt" }],
    ["/agent reviewer@3", { type: "command", name: "agent", rest: "reviewer@3" }],
  ])("%j", (line, expected) => {
    expect(readLine(line)).toEqual(expected);
  });

  test.each(["/interrupt", "/steer", "/constructor", "/explode now", "/"])("%j is told to be a mistake", (line) => {
    expect(readLine(line).type).toBe("mistake");
  });
});

describe("arguments", () => {
  test("each is shown whole, over several rows where it is long", () => {
    const { rows, hidden } = argumentRows(
      { command: `echo ${"x".repeat(30)}; rm -rf /` },
      { rowsMax: 10, columns: 20 },
    );

    expect(rows.join("")).toBe(`command: echo ${"x".repeat(30)}; rm -rf /`);
    expect(hidden).toBe(0);
  });

  test("what does not fit is counted", () => {
    const { rows, hidden } = argumentRows({ content: "line\n".repeat(100) }, { rowsMax: 10, columns: 80 });

    expect(rows).toHaveLength(10);
    expect(hidden).toBe(92);
  });

  test("nothing in them reaches the terminal as a command to it", () => {
    const evil = "\u001b]0;owned\u0007\u001b[2J\u009b31m\u202Egnp.exe";
    const { rows } = argumentRows({ [evil]: evil, list: [evil] }, { rowsMax: 50, columns: 80 });

    expect(rows.join("\n")).not.toMatch(/(?!\n)\p{Cc}|\p{Bidi_Control}/u);
  });

  test("a text that looks like a number, or like nothing, is told to be a text", () => {
    const { rows } = argumentRows({ a: 1, b: "1", c: "", d: "true", e: " x " }, { rowsMax: 50, columns: 80 });

    expect(rows).toEqual(["a: 1", 'b: "1"', 'c: ""', 'd: "true"', 'e: " x "']);
  });

  test.each([["text"], [null], [undefined], [[1]], [{}]])("what is no object (%j) is shown, too", (args) => {
    expect(argumentRows(args, { rowsMax: 5, columns: 80 }).rows.length).toBeGreaterThan(0);
  });
});
