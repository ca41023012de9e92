/** The tools that list and search, against real files. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { openWorkshop, publishedText, type Workshop } from "./workshop.ts";

let shop: Workshop;
beforeEach(async () => {
  shop = await openWorkshop();
});
afterEach(() => shop[Symbol.asyncDispose]());

describe("list_files", () => {
  test("names folders, files with their size, and links", async () => {
    await shop.sh("mkdir -p src/deep/er; printf 12345 > src/a.ts; : > z; ln -s src link");

    const { text } = await shop.call("list_files", {});

    expect(text).toBe("link (symlink)\nsrc/\nsrc/a.ts (5)\nsrc/deep/\nz (0)");
    expect((await shop.call("list_files", { path: "src", depth: 3 })).text).toContain("src/deep/er/");
  });

  test("names but does not list .git and node_modules, unless they are asked for", async () => {
    await shop.sh("mkdir -p .git/objects a/node_modules/left-pad; touch a/b");

    expect((await shop.call("list_files", { depth: 5 })).text).toBe(".git/\na/\na/b (0)\na/node_modules/");
    expect((await shop.call("list_files", { path: "a/node_modules" })).text).toBe("a/node_modules/left-pad/");
  });

  test("says when there is more than it shows", async () => {
    await shop.sh("mkdir many; cd many; seq 1 1200 | xargs touch");

    const { text } = await shop.call("list_files", {});

    expect(text.split("\n")).toHaveLength(LIMITS.listEntriesMax + 1);
    expect(text).toMatch(/\[more than these 1000 entries;/);
  });

  test.each([
    ["missing", /there is no missing/],
    ["file", /expected a folder/],
    ["/etc", /leads out/],
    ["evil", /leads out/],
  ])("%s is an error in words", async (path, words) => {
    await shop.sh("touch file; ln -s /etc evil");

    expect(await shop.call("list_files", { path })).toEqual({
      outcome: "error",
      text: expect.stringMatching(words),
    });
  });

  test("an empty folder is said to be empty", async () => {
    expect(await shop.call("list_files", {})).toEqual({ outcome: "ok", text: "(. is empty)" });
  });
});

describe("grep", () => {
  beforeEach(() =>
    shop.sh(`mkdir -p src/deep node_modules/x .git src/node_modules
      printf 'const a1 = 1;\\nlet b = 2;\\nfoo(bar)\\n' > src/one.ts
      printf 'const a22 = 3;\\n' > src/deep/two.js
      printf "it's const\\n" > 'with space.md'
      echo const > node_modules/x/i.js; echo const > .git/HEAD; echo const > src/node_modules/y.js
      printf 'const\\0' > binary`),
  );

  test("finds lines in all text files, with path and number, in order", async () => {
    expect(await shop.call("grep", { pattern: "const" })).toEqual({
      outcome: "ok",
      text: "src/deep/two.js:1:const a22 = 3;\nsrc/one.ts:1:const a1 = 1;\nwith space.md:1:it's const",
    });
  });

  test.each([
    ["a folder", { pattern: "const", path: "src/deep" }, "src/deep/two.js:1:const a22 = 3;"],
    ["a file", { pattern: "b = ", path: "src/one.ts" }, "src/one.ts:2:let b = 2;"],
    ["a folder that is else left out", { pattern: "const", path: "node_modules" }, "node_modules/x/i.js:1:const"],
    ["a glob", { pattern: "const", glob: "*.ts" }, "src/one.ts:1:const a1 = 1;"],
    ["a glob with alternatives", { pattern: "a2|a1", glob: "*.{js,md}" }, "src/deep/two.js:1:const a22 = 3;"],
    ["a glob with folders", { pattern: "const", glob: "src/**/*.js" }, "src/deep/two.js:1:const a22 = 3;"],
    ["an absolute path's worth of digits", { pattern: "a\\d{2} ", glob: "*.js" }, "src/deep/two.js:1:const a22 = 3;"],
    ["digits in brackets", { pattern: "a[\\d]+ = 3" }, "src/deep/two.js:1:const a22 = 3;"],
    ["escaped characters", { pattern: "foo\\(bar\\)" }, "src/one.ts:3:foo(bar)"],
    ["quotes", { pattern: "it's" }, "with space.md:1:it's const"],
    ["a pattern that looks like an option", { pattern: "-v|foo" }, "src/one.ts:3:foo(bar)"],
  ])("searches %s", async (_, args, text) => {
    expect(await shop.call("grep", args)).toEqual({ outcome: "ok", text });
  });

  test("no match is no error", async () => {
    expect(await shop.call("grep", { pattern: "nowhere to be found" })).toEqual({ outcome: "ok", text: "No matches." });
  });

  test.each([
    ["a pattern that is not one", { pattern: "foo(" }, /Unmatched.*need a \\ to stand for themselves/],
    ["a missing path", { pattern: "x", path: "missing" }, /there is no missing/],
    ["a path that leads out", { pattern: "root", path: "/etc/passwd" }, /leads out/],
    ["a path above", { pattern: "root", path: ".." }, /leads out/],
  ])("%s is an error in words", async (_, args, words) => {
    expect(await shop.call("grep", args)).toEqual({ outcome: "error", text: expect.stringMatching(words) });
  });

  test("nothing in a pattern, a path or a glob is run", async () => {
    const hostile = "'; touch pwned; echo '$(touch pwned)`touch pwned`\"\\";
    await shop.sandbox.writeFile("$(touch pwned)", new TextEncoder().encode("const"));

    await shop.call("grep", { pattern: hostile });
    await shop.call("grep", { pattern: "x", glob: hostile });
    await shop.call("grep", { pattern: "const", path: "$(touch pwned)" });

    expect(await shop.sandbox.stat("pwned")).toBeUndefined();
  });

  test("many matches and long lines are cut, and it says so", async () => {
    await shop.sh("seq -f 'match %g' 1 5000 > many; (printf long; head -c 3000000 /dev/zero | tr '\\0' x) > minified");

    const many = await shop.call("grep", { pattern: "match", path: "many" });
    const long = await shop.call("grep", { pattern: "long", path: "minified" });

    expect(many.text.split("\n")).toHaveLength(LIMITS.grepMatchesMax + 1);
    expect(many.text).toMatch(/\[there are more matches than these 200;/);
    expect(long.text.length).toBeLessThan(400);
  });

  test("an interrupt ends the search, and a search of a lost attempt is not run again", async () => {
    const call = shop.newCall();
    const args = { pattern: "const", path: "src" };

    const first = await call.attempt("grep", args);
    await shop.sh("echo const >> src/one.ts");
    const second = await call.attempt("grep", args);
    const interrupted = await shop.newCall().attempt("grep", args, { signal: AbortSignal.abort() });

    expect(second).toEqual(first);
    expect(interrupted.outcome).toBe("interrupted");
    expect(publishedText(call)).toBe("");
  });
});
