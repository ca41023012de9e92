/** The documents speak of what is there: every path they name exists, and the table of variables is the schema's. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { CONFIG_VARIABLES } from "../contract/config.ts";

/** Without these a reader has nothing to start from. */
const REQUIRED = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
const DOCUMENTS = [...REQUIRED, ...markdownIn("docs"), ...markdownIn("bench")];
/** What a build or a run makes: documents may name it though the repository does not hold it. */
const MADE = ["dist/", "node_modules/", ".cache/", ".perdure/", "outputs/"];
/** Folders and files at the root, by which a path of ours is told from any other word in backticks. */
const ROOT_NAMES = readdirSync(".");

describe.each(DOCUMENTS)("%s", (document) => {
  test("is there", () => {
    expect(existsSync(document), `${document} is missing: write it`).toBe(true);
  });

  test("names only paths that exist", () => {
    const text = existsSync(document) ? readFileSync(document, "utf8") : "";
    expect(
      pathsIn(text).filter((name) => !existsSync(name) && !existsSync(path.join(path.dirname(document), name))),
    ).toEqual([]);
  });

  test("links only to files that exist", () => {
    const text = existsSync(document) ? readFileSync(document, "utf8") : "";
    const links = [...text.matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)].map(([, target = ""]) => target);
    expect(links.filter((target) => !existsSync(path.join(path.dirname(document), target)))).toEqual([]);
  });
});

test("README's table of variables is the schema's, both ways", () => {
  const text = existsSync("README.md") ? readFileSync("README.md", "utf8") : "";
  const documented = [...text.matchAll(/^\|\s*`([A-Z][A-Z0-9_]+)`/gm)].map(([, name]) => name);
  expect(documented.toSorted()).toEqual([...CONFIG_VARIABLES].toSorted());
});

test("every npm script a document tells to run is in package.json", () => {
  const scripts = Object.keys(JSON.parse(readFileSync("package.json", "utf8")).scripts);
  const told = DOCUMENTS.filter((document) => existsSync(document)).flatMap((document) =>
    [...readFileSync(document, "utf8").matchAll(/\bnpm (?:run )?(test|start|(?<=run )[a-z:-]+)/g)].map(
      ([, name]) => name ?? "",
    ),
  );
  expect(told.filter((name) => !scripts.includes(name))).toEqual([]);
});

test("what looks like a path of ours is found in a text, and nothing else", () => {
  const text =
    "`contract/limits.ts`, `workflows/`, `sandbox/local.ts:12`, `package.json`, `scripts/*.mjs`, `dist/cli/main.js`, " +
    "`POST /v1/sessions`, `node:sqlite`, `outputs/report.md`, `a/b`, `store/<name>.ts`";
  expect(pathsIn(text)).toEqual(["contract/limits.ts", "workflows/", "sandbox/local.ts", "package.json"]);
});

function pathsIn(text: string): string[] {
  return [...text.matchAll(/`([A-Za-z0-9._][A-Za-z0-9._/-]*)(?::\d+)?`/g)]
    .map(([, name = ""]) => name)
    .filter((name) => isOurs(name) && !MADE.some((made) => `${name}/`.startsWith(made)));
}

/** By its first folder, by being source, or by being one of the documents at the root. */
function isOurs(name: string): boolean {
  const [first = ""] = name.split("/");
  if (name.includes("/")) return ROOT_NAMES.includes(first) || /\.(ts|mjs)$/.test(name);
  return /^[A-Z_]+\.md$/.test(name) || ROOT_NAMES.includes(name);
}

function markdownIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => path.posix.join(folder, name.replaceAll(path.sep, "/")));
}
