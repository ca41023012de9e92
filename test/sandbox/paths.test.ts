/** Path containment by itself, with paths and links made to get out. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isInside, resolveInside } from "../../sandbox/paths.ts";

let base: string;
let root: string;
beforeEach(() => {
  base = realpathSync(mkdtempSync(path.join(os.tmpdir(), "perdure-paths-")));
  root = path.join(base, "root");
  mkdirSync(path.join(root, "folder"), { recursive: true });
  mkdirSync(path.join(base, "root-sibling"));
  writeFileSync(path.join(root, "folder", "file"), "");
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

test.each([
  ["", ""],
  [".", ""],
  ["folder/../folder/./file", "folder/file"],
  ["missing/deep/er", "missing/deep/er"],
  ["..hidden", "..hidden"],
  ["folder/...", "folder/..."],
])("%j is inside", (given, expected) => {
  expect(resolveInside(root, given)).toBe(path.join(root, expected));
  expect(resolveInside(root, path.join(root, given))).toBe(path.join(root, expected));
});

test.each(["..", "../root-sibling", "folder/../..", "/", "../../../../../../etc", "a\0", "é".repeat(2_100)])(
  "%j is denied",
  (given) => {
    expect(() => resolveInside(root, given)).toThrow(expect.objectContaining({ kind: "denied" }));
  },
);

test("a folder whose name only begins like the root is not inside", () => {
  expect(isInside(root, `${root}-sibling`)).toBe(false);
  expect(() => resolveInside(root, `${root}-sibling/x`)).toThrow(/leads out/);
  expect(isInside("/", "/etc")).toBe(true);
});

test("a symlink to nowhere counts as the place where a write would go", () => {
  symlinkSync("folder/new", path.join(root, "within"));
  symlinkSync("../root-sibling/new", path.join(root, "beyond"));

  expect(resolveInside(root, "within")).toBe(path.join(root, "folder/new"));
  expect(() => resolveInside(root, "beyond")).toThrow(/leads out/);
});

test("symlinks to nowhere without end are denied, not followed for ever", () => {
  for (let i = 0; i < 60; i++) symlinkSync(`link-${i + 1}/x`, path.join(root, `link-${i}`));

  expect(() => resolveInside(root, "link-0")).toThrow(expect.objectContaining({ kind: "denied" }));
});
