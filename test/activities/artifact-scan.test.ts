/** The scan finds what is new in an agent's artifact folders, in a real workspace, and leaves out what it is told to. */
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { artifactFolders, hasNewArtifacts, newArtifacts, scanArtifacts } from "../../activities/artifact-scan.ts";
import { findSandbox, openSandbox, type SandboxDeps } from "../../activities/session-sandbox.ts";
import { Agent } from "../../contract/agents.ts";
import { LIMITS } from "../../contract/limits.ts";
import { tellSkip } from "../../store/artifact-skips.ts";
import { recordArtifact } from "../../store/artifacts.ts";
import { aMessage, aSession, aStep, logOf, temporaryStore } from "../store/store-builder.ts";
import { localSandboxes } from "../support/local-sandboxes.ts";

async function hasNew({ deps, sessionId, sandbox }: Awaited<ReturnType<typeof aWorkspace>>): Promise<boolean> {
  return await hasNewArtifacts(deps, sessionId, { sandbox, agent: Agent.parse({ artifacts: ["outputs/"] }) });
}

/** A session with a live sandbox, whose agent has these artifact folders. */
async function aWorkspace(artifacts: readonly string[] = ["outputs/"]) {
  const store = await temporaryStore();
  const sandboxes = localSandboxes(path.join(store.folder, "sandboxes"));
  const deps: SandboxDeps = { store, sandboxes, host: "here" };
  const sessionId = await aSession(store.database, { agent: { artifacts: [...artifacts] } });
  const ids = await aMessage(store.database, sessionId);
  await aStep(store.database, ids);
  const sandbox = await openSandbox(deps, sessionId);
  const write = (file: string, content: string): void => {
    const place = path.join(sandbox.workspace, file);
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, content);
  };
  const scan = async () =>
    await newArtifacts(deps, sessionId, { sandbox, folders: await artifactFolders(deps, sessionId) });
  const found = async () => (await scan()).map((file) => file.path);
  const keep = async () => {
    for (const scanned of await scan()) {
      const upload = { scanned, sha256: `${scanned.path}-${scanned.modifiedAt}`, bytes: scanned.bytes };
      await recordArtifact(store.database, ids, { ...upload, contentType: "text/plain" });
    }
  };
  const dispose = () => store[Symbol.asyncDispose]();
  return { deps, sessionId, sandbox, ids, write, found, keep, [Symbol.asyncDispose]: dispose };
}

test("files are found in path order; empty ones, folders, symlinks and what is elsewhere are not", async () => {
  await using workspace = await aWorkspace();
  const { write, sandbox } = workspace;
  write("outputs/b.md", "b");
  write("outputs/a/deep/er.txt", "a");
  write("outputs/empty", "");
  write("elsewhere.md", "x");
  mkdirSync(path.join(sandbox.workspace, "outputs/folder"));
  symlinkSync("/etc/hostname", path.join(sandbox.workspace, "outputs/link"));
  symlinkSync("/etc", path.join(sandbox.workspace, "outputs/linked"));

  expect(await workspace.found()).toEqual(["outputs/a/deep/er.txt", "outputs/b.md"]);
});

test("a folder with more entries than are looked at is told once, also when what is new lies behind them", {
  timeout: 60_000,
}, async () => {
  await using workspace = await aWorkspace();
  const { deps, sessionId, sandbox, ids } = workspace;
  const folder = path.join(sandbox.workspace, "outputs");
  mkdirSync(folder);
  for (let i = 0; i < LIMITS.artifactsPerScan; i++) writeFileSync(path.join(folder, `e${i}`), "");
  const scan = async () => await scanArtifacts(deps, sessionId, { sandbox, folders: ["outputs/"] });
  expect(await scan()).toEqual({ files: [], cut: [] });
  expect(await hasNew(workspace)).toBe(false);

  workspace.write("outputs/z.md", "last");

  expect(await scan()).toEqual({ files: [], cut: ["outputs/"] });
  expect(await hasNew(workspace)).toBe(true);
  await tellSkip(deps.store.database, ids, "outputs/");
  await tellSkip(deps.store.database, ids, "outputs/");
  expect(await hasNew(workspace)).toBe(false);
  expect(await hasNewArtifacts(deps, sessionId, { sandbox, agent: Agent.parse({ artifacts: ["./outputs"] }) })).toBe(
    true,
  );
  const told = (await logOf(deps.store.database, sessionId)).filter(({ type }) => type === "artifacts.skipped");
  expect(told).toMatchObject([{ folder: "outputs/", reason: "too_many", looked: LIMITS.artifactsPerScan }]);
});

test("without an ignore file the folders that nobody means are left out, at any depth", async () => {
  await using workspace = await aWorkspace();
  for (const folder of [
    "node_modules",
    ".venv",
    "env",
    "venv",
    "dist",
    "__pycache__",
    "__pytest_cache__",
    ".pytest_cache",
    ".git",
  ]) {
    workspace.write(`outputs/${folder}/x`, "x");
    workspace.write(`outputs/deep/${folder}/x`, "x");
  }
  workspace.write("outputs/.env", "SECRET=1");
  workspace.write("outputs/distance/x", "x");

  expect(await workspace.found()).toEqual(["outputs/distance/x"]);
});

test("an ignore file replaces the defaults, is not kept itself, and is read anew each time", async () => {
  await using workspace = await aWorkspace();
  workspace.write("outputs/dist/app.js", "x");
  workspace.write("outputs/a.log", "x");
  workspace.write("outputs/keep.log", "x");
  workspace.write("outputs/sub/b.log", "x");
  workspace.write("outputs/.artifactignore", "# logs\n*.log\n!keep.log\n");
  expect(await workspace.found()).toEqual(["outputs/dist/app.js", "outputs/keep.log"]);

  workspace.write("outputs/.artifactignore", "/dist/\n/sub\n");
  expect(await workspace.found()).toEqual(["outputs/a.log", "outputs/keep.log"]);
});

test("an empty ignore file leaves nothing out", async () => {
  await using workspace = await aWorkspace();
  workspace.write("outputs/dist/app.js", "x");
  workspace.write("outputs/.artifactignore", "");

  expect(await workspace.found()).toEqual(["outputs/dist/app.js"]);
});

test("of an ignore file of very many rules the first count, and every file is compared with them", async () => {
  await using workspace = await aWorkspace();
  const rules = Array.from({ length: LIMITS.ignoreLinesMax }, (_, index) => `a${index}b`);
  workspace.write("outputs/.artifactignore", [...rules, "c.md"].join("\n"));
  for (const name of ["a0b", "a999b", "c.md"]) workspace.write(`outputs/${name}`, "x");
  for (let index = 0; index < 300; index++) workspace.write(`outputs/many/${index}`, "x");

  const found = await workspace.found();

  expect(found).toHaveLength(301);
  expect(found).toContain("outputs/c.md");
});

test("an ignore file that is a symlink out of the workspace is not read", async () => {
  await using workspace = await aWorkspace();
  workspace.write("outputs/a.md", "a");
  const outside = path.join(workspace.sandbox.workspace, "../outside");
  writeFileSync(outside, "*\n");
  symlinkSync(outside, path.join(workspace.sandbox.workspace, "outputs/.artifactignore"));

  expect(await workspace.found()).toEqual(["outputs/a.md"]);
});

test("of two folders that overlap, the first one's rules decide, and no file is found twice", async () => {
  await using workspace = await aWorkspace(["out/inner", "out"]);
  workspace.write("out/.artifactignore", "*.txt\n");
  workspace.write("out/inner/.artifactignore", "*.md\n");
  for (const file of ["out/a.txt", "out/a.md", "out/inner/b.txt", "out/inner/b.md"]) workspace.write(file, "x");

  expect(await workspace.found()).toEqual(["out/a.md", "out/inner/b.txt"]);
});

test.for([".", "./", "./outputs", "outputs//"])("the folder %j is scanned like any", async (folder) => {
  await using workspace = await aWorkspace([folder]);
  workspace.write("outputs/a.md", "a");

  expect(await workspace.found()).toEqual(["outputs/a.md"]);
});

test("a folder that is missing, a file or a symlink out of the workspace has no artifacts, and hurts no other", async () => {
  await using workspace = await aWorkspace(["missing", "file", "link", "outputs"]);
  workspace.write("file", "x");
  workspace.write("outputs/a.md", "a");
  symlinkSync("/etc", path.join(workspace.sandbox.workspace, "link"));

  expect(await workspace.found()).toEqual(["outputs/a.md"]);
});

test("what is kept is not found again until it changes", async () => {
  await using workspace = await aWorkspace();
  workspace.write("outputs/a.md", "a");
  workspace.write("outputs/b.md", "b");
  await workspace.keep();
  expect(await workspace.found()).toEqual([]);
  expect(await hasNew(workspace)).toBe(false);

  utimesSync(path.join(workspace.sandbox.workspace, "outputs/a.md"), 1, 1);
  workspace.write("outputs/c.md", "c");

  expect(await workspace.found()).toEqual(["outputs/a.md", "outputs/c.md"]);
  expect(await hasNew(workspace)).toBe(true);
});

test("a session without a sandbox has nothing new, and looking makes none", async () => {
  await using workspace = await aWorkspace();
  const other = await aSession(workspace.deps.store.database);

  const agent = Agent.parse({ artifacts: ["outputs/"] });
  expect(await hasNewArtifacts(workspace.deps, other, { sandbox: undefined, agent })).toBe(false);
  expect(await findSandbox(workspace.deps, other)).toBeUndefined();
});

test("an ignore file that is too long is read up to its bound and stops nothing", async () => {
  await using workspace = await aWorkspace();
  workspace.write("outputs/a.log", "x");
  workspace.write("outputs/a.md", "x");
  workspace.write("outputs/.artifactignore", `*.log\n${"# filler\n".repeat(LIMITS.ignoreFileBytesMax / 8)}*.md\n`);

  expect(await workspace.found()).toEqual(["outputs/a.md"]);
});
