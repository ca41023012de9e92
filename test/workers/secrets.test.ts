/** A worker's secrets: where they come from, which are refused, and that no word of a warning or an error tells one. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { ConfigError } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import { loadSecrets, takeSecrets } from "../../workers/secrets.ts";

const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-secret-files-"));
let files = 0;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function aFile(text: string, mode = 0o600): string {
  const file = path.join(folder, `secrets-${++files}`);
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

interface Loaded {
  readonly values: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  redacted(text: string): string;
}

function load(file: string | undefined, environment: Readonly<Record<string, string>> = {}): Loaded {
  const warnings: string[] = [];
  const warn = (fields: object, message: string): unknown => warnings.push(`${message} ${JSON.stringify(fields)}`);
  const { values, redactor } = loadSecrets({ file, environment, warn });
  return { values: Object.fromEntries(values), warnings, redacted: (text) => redactor.text(text) };
}

test("variables with the prefix are secrets by the rest of their name, and no other variable is", () => {
  const { values, warnings } = load(undefined, {
    PERDURE_SECRET_NPM_TOKEN: "npm-value",
    PERDURE_SECRET_: "nameless",
    PERDURE_SECRET_EMPTY: "",
    OPENAI_API_KEY: "sk-model",
    NPM_TOKEN: "the worker's own",
    PERDURE_SECRETS_FILE: "/not/this",
  });

  expect(values).toEqual({ NPM_TOKEN: "npm-value" });
  expect(warnings).toEqual([]);
});

test("a file is a JSON object or lines, with a byte order mark or without", () => {
  expect(load(aFile(`\uFEFF{"A": "value-a", "B": "two\\nlines"}`)).values).toEqual({ A: "value-a", B: "two\nlines" });
  const lines = `# comment\n\nexport A=value-a\r\nB = "two\\nlines \\"b\\""\nC='single $x \\n'\nD=a=b#c\n`;
  expect(load(aFile(lines)).values).toEqual({ A: "value-a", B: 'two\nlines "b"', C: "single $x \\n", D: "a=b#c" });
});

test("a variable stands over the file", () => {
  expect(load(aFile("A=from-file\nB=from-file"), { PERDURE_SECRET_A: "from-variable" }).values).toEqual({
    A: "from-variable",
    B: "from-file",
  });
});

test.each([[0o644], [0o640], [0o604]])("a file with the mode %o is warned of, and used", (mode) => {
  const { values, warnings } = load(aFile("A=value-a", mode));

  expect(values).toEqual({ A: "value-a" });
  expect(warnings.join()).toMatch(/other users .*chmod 600.*"mode":"6[04]/);
  expect(load(aFile("A=value-a", 0o600)).warnings).toEqual([]);
});

test.each([
  ["a short value", { A: "abc" }, /"A"|less than 4/],
  ["white space that makes it long", { A: "ab      \n" }, /less than 4/],
  ["a value that is too long", { A: "x".repeat(LIMITS.secretValueBytesMax + 1) }, /more than \d+ bytes/],
  ["a NUL", { A: "value\0with" }, /NUL/],
  ["a name that is no variable's", { "A-B": "value-ab" }, /name/],
])("%s is refused with a warning that does not tell it, and the others are used", (_, wrong, expected) => {
  const { values, warnings } = load(aFile(JSON.stringify({ ...wrong, GOOD: "value-good" })));

  expect(values).toEqual({ GOOD: "value-good" });
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(expected);
  for (const value of Object.values(wrong)) expect(warnings[0]).not.toContain(value);
});

test.each([
  ["JSON that is broken", '{"A": "top-secret-value"', "begins as a JSON object"],
  ["a value that is no text", '{"A": ["top-secret-value"]}', '"A" is not a text'],
  ["a line without =", "A=fine-value\ntop-secret-value", "line 2 is not NAME=VALUE"],
])("a file with %s is an error that tells the place and no value", (_, text, expected) => {
  const loading = (): unknown => load(aFile(text));

  expect(loading).toThrow(ConfigError);
  expect(loading).toThrow(expected);
  expect(loading).not.toThrow("top-secret-value");
});

test("a file that is not there, or a folder, is an error that names the variable", () => {
  expect(() => load(path.join(folder, "none"))).toThrow(/PERDURE_SECRETS_FILE: .*cannot be read \(ENOENT\)/);
  expect(() => load(folder)).toThrow(/PERDURE_SECRETS_FILE: .*cannot be read \(EISDIR\)/);
});

test("every value is redacted, those of no agent too; without secrets nothing is", () => {
  const { redacted } = load(aFile("A=value-of-a\nB=value-of-b"));

  expect(redacted("a value-of-a and value-of-b")).toBe("a [REDACTED] and [REDACTED]");
  expect(load(undefined).redacted("a value-of-a")).toBe("a value-of-a");
});

test("once taken, they are in the environment no longer", () => {
  const environment: Record<string, string | undefined> = { PERDURE_SECRET_A: "value-of-a", PATH: "/bin" };

  const { values } = takeSecrets(environment, { file: undefined, warn: () => undefined });

  expect(values.get("A")).toBe("value-of-a");
  expect(environment).toEqual({ PATH: "/bin" });
});
