/** Globs and the paths they are matched with, held against picomatch where both speak the same language. */
import picomatch from "picomatch";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { compileGlob, matchesGlob, namesInWorkspace } from "../../policy/paths.ts";
import { createRandom, pick } from "./random.ts";

function isMatch(source: string, path: string): boolean {
  const glob = compileGlob(source);
  if ("fault" in glob) throw new Error(`${source}: ${glob.fault}`);
  const names = namesInWorkspace(path, "/project");
  return names !== undefined && matchesGlob(glob, names);
}

test.each([
  ["src/**", "src/a"],
  ["src/**", "src/a/b.ts"],
  ["src/**", "src"],
  ["src/**", "./src//x/../a"],
  ["src/**", "/project/src/a"],
  ["src/**", "/project//src/./a/"],
  ["**", "."],
  ["**", ""],
  ["*", "a/b/c"],
  ["*", "."],
  [".", "a/.."],
  ["**/*.ts", "a.ts"],
  ["**/*.ts", "a/b/c.ts"],
  ["a/**/b", "a/b"],
  ["a/**/b/**/c", "a/x/b/b/c"],
  ["*.env", ".env"],
  ["**/.*", "a/.git"],
  ["a?c", "abc"],
  ["a?c", "a😀c"],
  ["[a-c]", "b"],
  ["[!a-c]", "d"],
  ["[^x]y", "ay"],
  ["[a\\]]", "]"],
  ["{a,b}/c", "b/c"],
  ["{a,{b,c}d}e", "cde"],
  ["{a,}b", "b"],
  ["(app)/\\[id\\]/x", "(app)/[id]/x"],
  ["a\\*b", "a*b"],
  ["\\!a", "!a"],
  ["./src/", "src"],
  ["a**b", "axxb"],
])("%j matches %j", (glob, path) => {
  expect(isMatch(glob, path)).toBe(true);
});

test.each([
  ["src/**", "src2"],
  ["src/**", "src2/a"],
  ["src/**", "a/src/b"],
  ["src/**", "src/../a"],
  ["src/**", "src/../../project/src/a"],
  ["src/**", "../src/a"],
  ["src/**", "/src/a"],
  ["src/**", "/projects/src/a"],
  ["src/**", "/project/../src/a"],
  ["src/**", "~/src/a"],
  ["src/**", "src\\a"],
  ["src/*", "src/a/b"],
  ["src/*", "src"],
  ["*.ts", "a/b.ts"],
  ["**/*.ts", "a.tsx"],
  ["a?c", "a/c"],
  ["[!a]", "a"],
  ["[a-c]", "B"],
  ["a.c", "abc"],
  ["**", ".."],
  ["**", "/etc/passwd"],
  ["**", "a\0b"],
])("%j does not match %j", (glob, path) => {
  expect(isMatch(glob, path)).toBe(false);
});

test.each([
  ["../a", "leads out"],
  ["a/../../b", "leads out"],
  ["a/..", "leads out"],
  ["{a,..}/b", "leads out"],
  ["/etc/**", "leads out"],
  ["~/a", "leads out"],
  ["  ", "empty"],
  ["!a", "begins with !"],
  ["a[b", "[ without its ]"],
  ["[]", "[ without its ]"],
  ["{a", "{ or } without the other"],
  ["a}", "{ or } without the other"],
  ["{a,{b}", "comma"],
  ["{1..3}", "comma"],
  ["@(a|b)", "extended pattern"],
  ["a+(b)", "extended pattern"],
  ["a\0", "NUL"],
  ["{a,b}".repeat(7), "more than 64"],
])("%j is refused: %s", (glob, words) => {
  const compiled = compileGlob(glob);
  expect("fault" in compiled && compiled.fault).toContain(words);
});

test("a path longer than any file's is outside", () => {
  expect(namesInWorkspace("a".repeat(LIMITS.pathCharactersMax + 1), "/project")).toBeUndefined();
});

test("an absolute path is outside when nobody says where the workspace is", () => {
  expect(namesInWorkspace("/project/a", undefined)).toBeUndefined();
});

test("a workspace at the root holds every absolute path", () => {
  expect(namesInWorkspace("/a/b", "/")).toEqual(["a", "b"]);
});

test("globs agree with picomatch", () => {
  const random = createRandom(11);
  const parts = ["a", "b", "ab", "*", "?", "[ab]", "[!a]", "{a,b}", "/", "/", "/**/", ".x"] as const;
  for (let round = 0; round < 5_000; round += 1) {
    const glob = Array.from({ length: 4 }, () => pick(random, parts))
      .join("")
      .replace(/\/+/g, "/")
      .replace(/^\/|\/$/g, "");
    const path = Array.from({ length: 5 }, () => pick(random, ["a", "b", "ab", "/", ".x"]))
      .join("")
      .replace(/\/+/g, "/")
      .replace(/^\/|\/$/g, "");
    // A lone star means everything to us; stars beside stars, and `**` behind a wildcard, picomatch reads in several ways.
    if (glob === "" || path === "" || /^\*$|\*\*[^/]|[^/]\*\*|\*\?|\?\*|[*?\]}]\/\*\*/.test(glob)) continue;
    expect([glob, path, isMatch(glob, path)]).toEqual([
      glob,
      path,
      picomatch.isMatch(path, glob, { dot: true, posix: true }),
    ]);
  }
});

describe("a glob made to be slow", () => {
  test.each(["*a*a*a*a*a*a*a*a*a*b", "**/a/**/a/**/a/**/a/**/b", "{*,*}{*,*}{*,*}{*,*}{*,*}{*,*}b", "x(a+)+b"])(
    "is matched with the longest path: %j",
    (glob) => {
      expect(isMatch(glob, "a".repeat(LIMITS.pathCharactersMax))).toBe(false);
      expect(isMatch(glob, "a/".repeat(LIMITS.pathCharactersMax / 2))).toBe(false);
    },
  );
});
