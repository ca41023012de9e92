/** The folder of agents: what is loaded from it at start, and what stops nothing. */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { type AgentFolder, type FolderLog, loadAgentFolder } from "../../api/agent-folder.ts";
import { LIMITS } from "../../contract/limits.ts";
import { deleteAgent, findAgent, listAgents, putAgent } from "../../store/agents.ts";
import { openStore, type Store } from "../../store/store.ts";

interface Line {
  readonly level: "info" | "warn" | "error";
  readonly fields: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** A store, a folder and what is said of it. */
class FolderWorld implements AsyncDisposable {
  readonly store: Store;
  readonly root: string;
  readonly lines: Line[] = [];

  constructor(store: Store, root: string) {
    this.store = store;
    this.root = root;
  }

  static async start(files: Readonly<Record<string, string>> = {}): Promise<FolderWorld> {
    const root = await mkdtemp(path.join(tmpdir(), "perdure-agents-"));
    const world = new FolderWorld(await openStore(path.join(root, "state")), root);
    await mkdir(world.folder.path);
    for (const [name, text] of Object.entries(files)) await world.write(name, text);
    return world;
  }

  get folder(): AgentFolder {
    return { path: path.join(this.root, "agents"), isNamed: true };
  }

  write(name: string, text: string): Promise<void> {
    return writeFile(path.join(this.folder.path, name), text);
  }

  async load(folder: AgentFolder = this.folder): Promise<readonly string[]> {
    const note = (level: Line["level"]) => (fields: object, text: string) => {
      this.lines.push({ level, fields: { ...fields }, text });
    };
    const log: FolderLog = { info: note("info"), warn: note("warn"), error: note("error") };
    await loadAgentFolder(this.store.database, folder, log);
    return (await listAgents(this.store.database, { limit: 1_000 })).rows.map(({ id, version }) => `${id} ${version}`);
  }

  said(level: Line["level"]): readonly string[] {
    return this.lines.filter((line) => line.level === level).map(({ text }) => text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
    await rm(this.root, { recursive: true, force: true });
  }
}

test("every file is an agent under its own name, and only what has changed is a new version at the next start", async () => {
  await using world = await FolderWorld.start({
    "coder.md": "---\ndescription: Codes\ntools: [bash]\n---\nBe brief.",
    "reviewer.json": '{"name": "The reviewer"}',
  });

  expect(await world.load()).toEqual(["coder 1", "reviewer 1"]);
  expect(await world.load()).toEqual(["coder 1", "reviewer 1"]);
  await world.write("coder.md", "---\ndescription: Codes\ntools: [bash]\n---\nBe briefer.");
  expect(await world.load()).toEqual(["coder 2", "reviewer 1"]);

  expect(await findAgent(world.store.database.read, "coder")).toMatchObject({
    source: "coder.md",
    agent: { name: "coder", instructions: "Be briefer.", tools: ["bash"], policy: { rules: [] } },
  });
  expect(world.said("error")).toEqual([]);
});

test("a broken file is named with what is wrong with it, and stops neither the others nor the start", async () => {
  await using world = await FolderWorld.start({
    "a.json": "{",
    "b.json": '{"tools": ["r m"], "colour": "red"}',
    "c.md": "# Readme",
    "d e.json": "{}",
    "f.json": '{"__proto__": {"x": 1}}',
    "g.json": '{"backend": "opnai", "handoffs": [{"agent": "nobody"}]}',
    "z.json": "{}",
    "notes.txt": "x",
    ".hidden.json": "x",
  });
  await writeFile(path.join(world.folder.path, "h.json"), " ".repeat(LIMITS.agentFileBytesMax + 1));
  await symlink("/nowhere", path.join(world.folder.path, "i.json"));
  await mkdir(path.join(world.folder.path, "j.json"));
  execFileSync("mkfifo", [path.join(world.folder.path, "k.json")]);

  expect(await world.load()).toEqual(["z 1"]);

  const words = world.said("error").join("\n");
  for (const [file, fault] of [
    ["a.json", /expected JSON/],
    ["b.json", /\/tools\/0: expected a tool's name.*\/colour: this field is not known/],
    ["c.md", /expected front matter/],
    ["d e.json", /the name of the file is the agent's id/],
    ["f.json", /__proto__/],
    ["g.json", /\/backend: expected one of.*\/handoffs\/0\/agent: there is no agent nobody/],
    ["h.json", /expected at most/],
    ["i.json", /ENOENT/],
    ["k.json", /expected a plain file/],
  ] as const) {
    expect(words).toMatch(new RegExp(`^${file} is not loaded: .*${fault.source}`, "m"));
  }
  expect(world.said("error")).toHaveLength(9);
});

test("agents of a folder may hand over to each other", async () => {
  await using world = await FolderWorld.start({
    "a.json": '{"handoffs": [{"agent": "b"}]}',
    "b.json": '{"handoffs": [{"agent": "a"}]}',
  });

  expect(await world.load()).toEqual(["a 1", "b 1"]);
});

test("two files of one agent are one too many", async () => {
  await using world = await FolderWorld.start({ "a.json": '{"model": "json"}', "a.md": "---\nmodel: md\n---\n" });

  await world.load();

  expect(await findAgent(world.store.database.read, "a")).toMatchObject({ source: "a.json" });
  expect(world.said("error")).toEqual(["a.md is not loaded: a.json is agent a already"]);
});

test("a tool that no worker has yet is a warning: workers start beside the API", async () => {
  await using world = await FolderWorld.start({ "a.json": '{"tools": ["bash", "lookup"]}' });

  expect(await world.load()).toEqual(["a 1"]);
  expect(world.lines.filter(({ level }) => level === "warn")).toMatchObject([
    { fields: { agent: "a", faults: [{ path: "/tools/1" }] } },
  ]);
});

test("a file that is gone deletes nothing, and one that is back undeletes its agent with a new version", async () => {
  await using world = await FolderWorld.start({ "a.json": "{}", "b.json": "{}" });
  await world.load();
  await rm(path.join(world.folder.path, "a.json"));

  expect(await world.load()).toEqual(["a 1", "b 1"]);
  await deleteAgent(world.store.database, "b");
  expect(await world.load()).toEqual(["a 1", "b 2"]);
});

test("what a person has put since, the file takes back at the next start", async () => {
  await using world = await FolderWorld.start({ "a.json": '{"model": "file"}' });
  await world.load();
  const { agent } = (await findAgent(world.store.database.read, "a")) ?? {};
  if (!agent) throw new Error("the agent was not loaded");
  await putAgent(world.store.database, { id: "a", agent: { ...agent, model: "person" }, source: "api" });

  expect(await world.load()).toEqual(["a 3"]);
  expect(await findAgent(world.store.database.read, "a")).toMatchObject({ agent: { model: "file" } });
});

test("a folder that was named and is not there is said; one that was not named is not missed", async () => {
  await using world = await FolderWorld.start();
  const nowhere = path.join(world.root, "nowhere");

  await world.load({ path: nowhere, isNamed: false });
  expect(world.lines).toEqual([]);
  await world.load({ path: nowhere, isNamed: true });
  expect(world.said("error")).toEqual(["the folder of agents cannot be read; no agent was loaded from it"]);
});
