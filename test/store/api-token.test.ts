/** The token of a state folder: made once, by whoever comes first, and for its owner's eyes only. */
import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeToken, readToken, TokenError, tokenFile } from "../../store/api-token.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "perdure-token-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("it is made once, with 256 bits, mode 0600, and stays the same", () => {
  expect(readToken(folder)).toBeUndefined();
  const token = makeToken(folder);
  expect(token).toMatch(/^perdure_[A-Za-z0-9_-]{43}$/);
  expect(statSync(tokenFile(folder)).mode & 0o777).toBe(0o600);
  expect([makeToken(folder), readToken(folder)]).toEqual([token, token]);
  expect(readdirSync(folder)).toEqual(["token"]);
});

test("processes that start at once agree on one", async () => {
  const code = `import { makeToken } from ${JSON.stringify(path.resolve("store/api-token.ts"))}; console.log(makeToken(${JSON.stringify(folder)}));`;
  const run = () => promisify(execFile)(process.execPath, ["--input-type=module", "--eval", code]);
  const all = await Promise.all(Array.from({ length: 6 }, run));
  expect(new Set(all.map(({ stdout }) => stdout.trim()))).toEqual(new Set([readToken(folder)]));
  expect(readdirSync(folder)).toEqual(["token"]);
});

test("two folders have two", () => {
  const other = mkdtempSync(path.join(folder, "other-"));
  expect(makeToken(other)).not.toBe(makeToken(folder));
});

test.each([0o644, 0o640, 0o604, 0o660, 0o610])("a file of mode %o is refused, with the words that mend it", (mode) => {
  makeToken(folder);
  chmodSync(tokenFile(folder), mode);
  expect(() => makeToken(folder)).toThrow(TokenError);
  expect(() => readToken(folder)).toThrow(`chmod 600 ${tokenFile(folder)}`);
});

test.each(["", "\n", "short", "perdure_", `perdure_${"x".repeat(44)}`, "a".repeat(10_000)])(
  "a file with %j is no token, and is not replaced",
  (text) => {
    writeFileSync(tokenFile(folder), text, { mode: 0o600 });
    expect(() => makeToken(folder)).toThrow(/holds no token of ours/);
    expect(readFileSync(tokenFile(folder), "utf8")).toBe(text);
  },
);
