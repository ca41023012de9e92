/** The state folder is closed to others, and a folder that is none is not touched. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StateDirectory } from "../../cli/state-directory.ts";
import { ConfigError } from "../../contract/config.ts";
import { makePrivateFolder } from "../../store/private-folder.ts";
import { openStore } from "../../store/store.ts";

let base: string;
let folder: string;
beforeEach(() => {
  base = mkdtempSync(path.join(tmpdir(), "perdure-private-"));
  folder = path.join(base, "state");
});
afterEach(() => rmSync(base, { recursive: true }));

const modeOf = (file: string): number => statSync(file).mode & 0o777;
function made(mode: number, file?: string): void {
  mkdirSync(folder);
  chmodSync(folder, mode);
  if (file !== undefined) writeFileSync(path.join(folder, file), "");
}

test("whoever comes first makes it so: the store of a worker or an API alone, or the supervisor", async () => {
  await using _store = await openStore(folder);
  expect(modeOf(folder)).toBe(0o700);
  const other = path.join(base, "other");
  StateDirectory.claim(other).release();
  expect(modeOf(other)).toBe(0o700);
});

test.each([0o755, 0o750, 0o711, 0o770, 0o777])("one of an older version, of mode %o, is closed", (mode) => {
  made(mode, "perdure.db");
  makePrivateFolder(folder);
  expect(modeOf(folder)).toBe(0o700);
});

test("an empty one is taken, and closed", () => {
  made(0o755);
  makePrivateFolder(folder);
  expect(modeOf(folder)).toBe(0o700);
});

test("one with other things in it is refused with the command to run, and left as it is", () => {
  made(0o755, "notes.txt");
  expect(() => makePrivateFolder(folder)).toThrow(ConfigError);
  expect(() => makePrivateFolder(folder)).toThrow(`chmod 700 ${folder}`);
  expect(modeOf(folder)).toBe(0o755);
});
