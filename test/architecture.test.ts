/** The import rules of ARCHITECTURE.md and the rules of form, as a test. A new folder needs a row here. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

interface Rule {
  /** Packages, `node:`, folders and files that may be imported at run time. */
  readonly values: readonly string[];
  /** What may be imported as types only, in addition. */
  readonly types?: readonly string[];
}

/** Files of the contract that import nothing but one another, so that workflow code may run them on any machine for years. */
const PURE_CONTRACT = sources("contract").filter(isPure);

/** What each folder may import. Its own files are always allowed. */
const MAY_IMPORT: Readonly<Record<string, Rule>> = {
  contract: { values: ["zod"] },
  policy: { values: ["contract", "unbash"] },
  schemas: { values: ["node:", "contract", "ajv"] },
  threads: { values: ["node:", "contract", "policy", "schemas", "backends/output-schema.ts"] },
  workflows: {
    values: ["@temporalio/workflow", "@temporalio/common", ...PURE_CONTRACT],
    types: ["contract", "activities"],
  },
  activities: {
    values: [
      "node:",
      "@temporalio/activity",
      "contract",
      "store",
      "sandbox",
      "backends",
      "policy",
      "threads",
      "tools",
      "ignore",
      "mime-types",
      "modern-tar",
      "yauzl",
      "yazl",
    ],
    types: ["@temporalio/common"],
  },
  backends: {
    values: [
      "node:",
      "contract",
      "@openai/agents",
      "@openai/agents-openai",
      "openai",
      "@github/copilot-sdk",
      "schemas",
    ],
    types: ["ajv"],
  },
  tools: { values: ["node:", "contract", "sandbox/provider.ts", "schemas", "zod", "ignore"] },
  sandbox: { values: ["node:", "contract", "modal", "modern-tar", "@lydell/node-pty", "dockerode"] },
  store: { values: ["node:", "contract", "kysely", "yaml"] },
  workers: {
    values: [
      ...["node:", "@temporalio/worker", "@temporalio/client", "@temporalio/common", "pino"],
      ...["contract", "store", "sandbox", "backends", "tools", "activities", "cli/process-identity.ts"],
      "cli/running-stack.ts",
    ],
    types: ["workflows"], // Workflow code is given to a worker by path.
  },
  api: {
    values: [
      ...[
        "node:",
        "express",
        "zod",
        "zod-openapi",
        "pino",
        "@temporalio/client",
        "@temporalio/common",
        "mime-types",
        "ws",
      ],
      ...["contract", "store", "policy", "threads", "backends/registry.ts", "workflows/messages.ts"],
      ...["sandbox/egress/allow-list.ts", "sandbox/provider.ts", "cli/process-identity.ts", "cli/running-stack.ts"],
    ],
    types: ["workflows", "ajv"],
  },
  cli: {
    values: [
      "node:",
      "zod",
      "commander",
      "eventsource-parser",
      "ws",
      "contract",
      "store/agent-files.ts",
      "store/database.ts",
      "store/durable-file.ts",
      "store/folders.ts",
      "store/api-token.ts",
      "store/private-folder.ts",
      "modern-tar",
    ],
  },
  bench: { values: ["*"] },
  test: { values: ["*"] },
};

const LINES_MAX = 400;
const FOLDERS = Object.keys(MAY_IMPORT);
const SOURCES = FOLDERS.flatMap(sources);

describe("imports", () => {
  test("every folder with sources has a row", () => {
    const folders = readdirSync(".", { withFileTypes: true })
      .filter(
        (entry) => entry.isDirectory() && !entry.name.startsWith(".") && !["node_modules", "dist"].includes(entry.name),
      )
      .map(({ name }) => name);
    expect(folders.filter((folder) => sources(folder).length > 0 && !FOLDERS.includes(folder))).toEqual([]);
  });

  test.each(FOLDERS)("%s/ keeps to its imports", (folder) => {
    const rule = MAY_IMPORT[folder] ?? { values: [] };
    expect(sources(folder).flatMap((file) => violations(file, folder, rule))).toEqual([]);
  });

  test("a forbidden import is seen however it is written", () => {
    const code = [
      'import { a } from "../api/a.ts";',
      'import {\n  type B,\n  b,\n} from "../api/b.ts";',
      'import "../api/c.ts";',
      'export { d } from "../api/d.ts";',
      `const e = await import("${"../api/e.ts"}");`,
      'import type { F } from "../api/f.ts";',
    ].join("\n");
    const found = parseImports("store/x.ts", code).filter(
      (one) => !isAllowed(one, MAY_IMPORT["store"] ?? { values: [] }),
    );
    expect(found.map(({ target }) => target).sort()).toEqual(
      ["a", "b", "c", "d", "e", "f"].map((name) => `api/${name}.ts`),
    );
  });

  test("no file imports itself through others", () => {
    expect(cycles(SOURCES)).toEqual([]);
  });

  test("every import of ours names a file that exists", () => {
    const known = new Set(SOURCES);
    const missing = SOURCES.flatMap((file) =>
      importsOf(file)
        .filter(
          ({ target }) => target.endsWith(".ts") && FOLDERS.includes(target.split("/")[0] ?? "") && !known.has(target),
        )
        .map(({ target }) => `${file} -> ${target}`),
    );
    expect(missing).toEqual([]);
  });
});

describe("form", () => {
  test.each<[string, (file: string, code: string) => boolean]>([
    ["begins with a doc comment on its purpose", (_file, code) => !/^(#!.*\n)?\/\*\*/.test(code)],
    [`has at most ${LINES_MAX} lines`, (_file, code) => code.split("\n").length > LINES_MAX + 1],
    ["has no default export", (_file, code) => /^export default\b/m.test(code)],
    ["has no `export *`", (_file, code) => /^export \*/m.test(code)],
    ["has no `any`", (_file, code) => /(:|\bas|<|\||,)\s*any\b\s*[;,)>=\]|[]/.test(withoutTexts(code))],
    [
      "writes to the console only as a command",
      (file, code) => !mayPrint(file) && /\bconsole\./.test(withoutTexts(code)),
    ],
    [
      "is not one of the names that gather everything",
      (file) => /\/(utils?|helpers?|common|types|misc|manager)\.ts$/.test(file),
    ],
  ])("every file %s", (_rule, breaks) => {
    expect(SOURCES.filter((file) => breaks(file, readFileSync(file, "utf8")))).toEqual([]);
  });

  test("a floating promise is an error of the linter", async () => {
    const bad = "async function save(): Promise<void> {}\nexport function run(): void {\n  save();\n}\n";
    expect(await lint(bad)).toContain("noFloatingPromises");
    expect(await lint(bad.replace("  save()", "  void save()"))).not.toContain("noFloatingPromises");
  });
});

interface Import {
  readonly isType: boolean;
  /** A path from the root for files of ours, else the specifier. */
  readonly target: string;
}

function isPure(file: string): boolean {
  return importsOf(file).every(({ isType, target }) => isType || (target.startsWith("contract/") && isPure(target)));
}

function importsOf(file: string): readonly Import[] {
  return parseImports(file, readFileSync(file, "utf8"));
}

function parseImports(file: string, code: string): readonly Import[] {
  const statements = code.matchAll(/^(?:import|export)\s+(type\s)?(?:[\w*{][^"';]*?\sfrom\s+)?["']([^"']+)["']/gm);
  const calls = code.matchAll(/^(?!\s*(?:\*|\/\/)).*?(typeof )?\bimport\(\s*["'`]([^"'`]+)["'`]/gm);
  return [...statements, ...calls].map(([, type, specifier = ""]) => ({
    isType: type !== undefined,
    target: specifier.startsWith(".") ? path.posix.join(path.posix.dirname(file), specifier) : specifier,
  }));
}

function violations(file: string, folder: string, rule: Rule): string[] {
  return importsOf(file)
    .filter((one) => !one.target.startsWith(`${folder}/`) && !isAllowed(one, rule))
    .map(({ isType, target }) => `${file} -> ${target}${isType ? " (type)" : ""}`);
}

function isAllowed({ isType, target }: Import, rule: Rule): boolean {
  const allowed = [...rule.values, ...(isType ? (rule.types ?? []) : [])];
  return allowed.some((ok) => ok === "*" || target === ok || target.startsWith(ok.endsWith(":") ? ok : `${ok}/`));
}

/** Each cycle of run-time imports once, as the path around it. Types are erased and may go round. */
function cycles(files: readonly string[]): string[] {
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) found.push([...way.slice(way.indexOf(file)), file].join(" -> "));
    if (done.has(file) || way.includes(file) || !files.includes(file)) return;
    for (const { isType, target } of importsOf(file)) if (!isType) visit(target, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  return found;
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => path.posix.join(folder, name.replaceAll(path.sep, "/")))
    .sort();
}

function mayPrint(file: string): boolean {
  return file.startsWith("bench/") || /^(cli|api|workers)\/(.*\/)?(main|dev|demo)\.ts$/.test(file);
}

/** The code without comments and the insides of strings, where words are only words. */
function withoutTexts(code: string): string {
  return code
    .replace(/^\s*(\/\*\*|\*|\/\/).*$/gm, "")
    .replace(/\s\/\/ .*$/gm, "")
    .replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, '""');
}

/** What the linter says about a file under this project's rules, in a folder of its own. */
async function lint(code: string): Promise<string> {
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-lint-"));
  try {
    const { linter } = JSON.parse(readFileSync("biome.json", "utf8"));
    writeFileSync(path.join(folder, "biome.json"), JSON.stringify({ root: true, linter }));
    writeFileSync(path.join(folder, "bad.ts"), code);
    const run = promisify(execFile)(path.resolve("node_modules/.bin/biome"), ["lint", "bad.ts"], { cwd: folder });
    const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error);
    return stdout + stderr;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
