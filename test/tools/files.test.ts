/** The tools that read, write and edit files, against real ones. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { openWorkshop, type Workshop } from "./workshop.ts";

let shop: Workshop;
beforeEach(async () => {
  shop = await openWorkshop();
});
afterEach(() => shop[Symbol.asyncDispose]());

describe("read_file", () => {
  test("gives lines with their numbers", async () => {
    await shop.call("write_file", { path: "a.txt", content: "one\n\n  three\n" });

    expect(await shop.call("read_file", { path: "a.txt" })).toEqual({
      outcome: "ok",
      text: "     1\tone\n     2\t\n     3\t  three",
    });
  });

  test("gives a part, and says what it is and how to go on", async () => {
    await shop.call("write_file", { path: "a.txt", content: "1\n2\n3\n4\n5" });

    const { text } = await shop.call("read_file", { path: "a.txt", offset: 2, limit: 2 });

    expect(text).toBe("     2\t2\n     3\t3\n[lines 2 to 3 of 5; go on with offset 4]");
    expect((await shop.call("read_file", { path: "a.txt", offset: 4 })).text).toBe("     4\t4\n     5\t5");
  });

  test("of a long file gives as many lines as a result holds, and every line by going on", async () => {
    await shop.sh("seq -f 'line %g of a long file' 1 3000 > long");
    const seen: string[] = [];

    let offset: string | undefined = "1";
    for (let reads = 0; offset !== undefined && reads < 20; reads++) {
      const { text } = await shop.call("read_file", { path: "long", offset: Number(offset) });
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(LIMITS.toolResultBytes);
      seen.push(...(text.match(/(?<=\t).*/g) ?? []));
      offset = /go on with offset (\d+)/.exec(text)?.[1];
    }

    expect(seen).toEqual(Array.from({ length: 3000 }, (_, i) => `line ${i + 1} of a long file`));
  });

  test("cuts a line that is too long and says how long it is", async () => {
    await shop.sh("printf 'x%.0s' $(seq 1 5000) > minified");

    const { text } = await shop.call("read_file", { path: "minified" });

    expect(text).toMatch(/x\[… this line has 5000 characters\]$/);
    expect(text.length).toBeLessThan(2_100);
  });

  test("reads the beginning of a file that is too large, and says so", async () => {
    await shop.sh("yes 'a line of text' | head -c 20000000 > large");

    const { outcome, text } = await shop.call("read_file", { path: "large", limit: 1 });

    expect(outcome).toBe("ok");
    expect(text).toContain("[the file has 20000000 bytes, of which this tool reads the first 16777216;");
  });

  test.each([
    ["a file that is not there", "true", "missing", /there is no missing\. Use list_files/],
    ["a folder", "mkdir d", "d", /d is a folder, expected a file\. Use list_files/],
    ["a binary file", "head -c 100 /dev/zero > bin", "bin", /bin is a binary file of 100 bytes/],
    ["a path that leads out", "ln -s /etc evil", "evil/passwd", /leads out of the workspace/],
    ["a FIFO", "mkfifo fifo", "fifo", /not a regular file/],
  ])("%s is an error in words", async (_, command, path, words) => {
    await shop.sh(command);

    expect(await shop.call("read_file", { path })).toEqual({ outcome: "error", text: expect.stringMatching(words) });
  });

  test("an offset beyond the end says how many lines there are, and an empty file that it is empty", async () => {
    await shop.sh("echo one > a; : > empty");

    expect(await shop.call("read_file", { path: "a", offset: 2 })).toEqual({
      outcome: "error",
      text: "a has 1 lines, so there is no line 2. Use a smaller offset.",
    });
    expect(await shop.call("read_file", { path: "empty" })).toEqual({ outcome: "ok", text: "(empty is empty)" });
  });
});

describe("write_file", () => {
  test("makes folders, and writes the same again when it is repeated", async () => {
    const args = { path: "a/b/c.txt", content: "é\n" };
    const call = shop.newCall();

    const first = await call.attempt("write_file", args);

    expect(first).toEqual({ outcome: "ok", text: "Wrote a/b/c.txt (3 bytes)." });
    expect(await call.attempt("write_file", args)).toEqual(first);
    expect(await shop.sh("cat a/b/c.txt")).toBe("é\n");
  });

  test.each([
    ["a folder", "mkdir d", "d", /is a folder/],
    ["a path below a file", "echo x > f", "f/x", /a part of the path is not a folder/],
    ["a symlink out", "ln -s /tmp/perdure-no-such-file evil", "evil", /leads out/],
    ["a path above", "true", "../x", /leads out/],
  ])("%s is an error in words", async (_, command, path, words) => {
    await shop.sh(command);

    expect(await shop.call("write_file", { path, content: "x" })).toEqual({
      outcome: "error",
      text: expect.stringMatching(words),
    });
  });
});

describe("edit_file", () => {
  const content = "alpha\nbeta\nalpha again\n\tindented line\n";
  beforeEach(() => shop.call("write_file", { path: "f", content }));
  const read = () => shop.sh("cat f");

  test("replaces a text that is there once", async () => {
    const result = await shop.call("edit_file", { path: "f", oldText: "beta\n", newText: "$& $1 b\n" });

    expect(result).toEqual({ outcome: "ok", text: "Replaced 1 occurrence in f (line 2)." });
    expect(await read()).toBe("alpha\n$& $1 b\nalpha again\n\tindented line\n");
  });

  test("refuses a text that is there more than once, unless all are meant", async () => {
    const once = await shop.call("edit_file", { path: "f", oldText: "alpha", newText: "A" });
    const unchanged = await read();
    const all = await shop.call("edit_file", { path: "f", oldText: "alpha", newText: "A", all: true });

    expect(once).toMatchObject({ outcome: "error", text: expect.stringMatching(/2 times in f, at the lines 1, 3\./) });
    expect(unchanged).toBe(content);
    expect(all).toEqual({ outcome: "ok", text: "Replaced 2 occurrences in f (lines 1, 3)." });
    expect(await read()).toBe("A\nbeta\nA again\n\tindented line\n");
  });

  test.each([
    ["  indented line", /nearest line|first line is there.* line 4: "\\tindented line"/],
    ["alpha againn", /The nearest line is line 3: "alpha again"/],
    ["beta\nnothing like it", /first line is there.* line 2: "beta"/],
    ["#############", /No line of it is like it/],
  ])("a text that is not there (%j) is refused with the nearest line", async (oldText, words) => {
    const result = await shop.call("edit_file", { path: "f", oldText, newText: "x" });

    expect(result).toEqual({ outcome: "error", text: expect.stringMatching(words) });
    expect(await read()).toBe(content);
  });

  test("the same text twice, a missing file and a binary one are refused", async () => {
    await shop.sh("printf '\\377\\376' > binary");
    const edit = (path: string, oldText: string, newText: string) => shop.call("edit_file", { path, oldText, newText });

    expect((await edit("f", "beta", "beta")).text).toMatch(/the same/);
    expect((await edit("missing", "a", "b")).text).toMatch(/there is no missing/);
    expect((await edit("binary", "a", "b")).text).toMatch(/not a UTF-8 text/);
  });

  test("a file with Windows lines and a byte order mark keeps both", async () => {
    await shop.sh("printf '\\357\\273\\277one\\r\\ntwo\\r\\n' > dos");

    const result = await shop.call("edit_file", { path: "dos", oldText: "one\ntwo", newText: "1\n2" });

    expect(result.outcome).toBe("ok");
    expect(await shop.sh("od -An -c dos | tr -d ' \\n'")).toBe("3572732771\\r\\n2\\r\\n");
  });

  test("an attempt after a lost result neither fails nor edits twice", async () => {
    const call = shop.newCall();
    const args = { path: "f", oldText: "beta", newText: "beta beta" };
    const first = await call.attempt("edit_file", args);

    const second = await call.attempt("edit_file", args);

    expect(second).toEqual(first);
    expect(await read()).toBe(content.replace("beta", "beta beta"));
  });

  test("an attempt that was lost between its note and its write is made up for", async () => {
    const call = shop.newCall();
    const args = { path: "f", oldText: "beta", newText: "b" };
    const dying = {
      ...shop.sandbox,
      writeFile: () => Promise.reject(new Error("the worker was killed here")),
    };
    await expect(call.attempt("edit_file", args, { sandbox: dying })).rejects.toThrow("killed here");
    expect(call.notes).toHaveLength(1);

    expect(await call.attempt("edit_file", args)).toMatchObject({ outcome: "ok" });

    expect(await read()).toBe(content.replace("beta", "b"));
  });

  test("when the file changed after a lost attempt, what happened is unknown and nothing is done", async () => {
    const call = shop.newCall();
    const args = { path: "f", oldText: "beta", newText: "b" };
    await call.attempt("edit_file", args);
    await shop.sh("echo more >> f");
    const changed = await read();

    const result = await call.attempt("edit_file", args);

    expect(result).toMatchObject({ outcome: "unknown", text: expect.stringContaining("Read the file") });
    expect(await read()).toBe(changed);
  });

  test("a refused edit notes nothing", async () => {
    const call = shop.newCall();

    await call.attempt("edit_file", { path: "f", oldText: "nothing like it", newText: "x" });

    expect(call.notes).toEqual([]);
  });
});
