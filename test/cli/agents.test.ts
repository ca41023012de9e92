/** `perdure agents` as a process, before a real API: files in, tables and JSON out, faults in words. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ApiWorld } from "../support/api-world.ts";
import { type CommandEnd, CommandRun } from "../support/command-run.ts";

let world: ApiWorld;
let folder: string;
beforeEach(async () => {
  world = await ApiWorld.start();
  folder = await mkdtemp(path.join(tmpdir(), "perdure-agent-files-"));
});
afterEach(async () => {
  await world[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function perdure(...args: string[]): Promise<CommandEnd> {
  await using run = new CommandRun(["agents", ...args, "--url", world.url]);
  return await run.ended;
}

async function aFile(name: string, text: string): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, text);
  return file;
}

const CODER = "---\ndescription: Writes code\ntools: [bash, grep]\nmodel: m\n---\nBe brief.\n";

describe("files", () => {
  test("a Markdown file becomes an agent of its name, and again nothing new", async () => {
    const file = await aFile("coder.md", CODER);

    const made = await perdure("create", file);
    const again = await perdure("create", file);

    expect(made).toEqual({ exitCode: 0, stdout: "agent coder is at version 1\n", stderr: "" });
    expect(again.stdout).toBe("agent coder is at version 1\n");
  });

  test("a put makes versions of the id that is named, and prints one as JSON", async () => {
    await perdure("put", await aFile("a.json", '{"model": "one"}'), "--id", "b");

    const { stdout } = await perdure("put", await aFile("c.json", '{"model": "two"}'), "--id", "b", "--json");

    expect(JSON.parse(stdout)).toMatchObject({ id: "b", version: 2, agent: { name: "b", model: "two" } });
  });

  test.each([
    ["is no JSON", "a.json", "{", /a\.json: expected JSON/],
    ["has no front matter", "a.md", "# Hello", /a\.md: expected front matter/],
    ["has another ending", "a.yaml", "name: a", /ends in \.json or \.md/],
  ])("a file that %s is a fault of the command line", async (_what, name, text, message) => {
    const { exitCode, stderr } = await perdure("create", await aFile(name, text));

    expect(stderr).toMatch(message);
    expect(exitCode).toBe(2);
  });

  test("a file that is not there is named", async () => {
    const { exitCode, stderr } = await perdure("put", path.join(folder, "nowhere.md"));

    expect(stderr).toMatch(/nowhere\.md cannot be read: ENOENT/);
    expect(exitCode).toBe(2);
  });

  test("what the API refuses is said with its places", async () => {
    const { exitCode, stderr } = await perdure("create", await aFile("a.json", '{"tools": ["bsh"], "backend": "x"}'));

    expect(stderr).toMatch(
      /400 INVALID_INPUT.*\/backend: expected one of.*\/tools\/0: no running worker has this tool/,
    );
    expect(exitCode).toBe(1);
  });

  test("other content for an id that is taken says to put it", async () => {
    await perdure("create", await aFile("a.json", '{"model": "one"}'));

    const { exitCode, stderr } = await perdure("create", await aFile("a.json", '{"model": "two"}'));

    expect(stderr).toMatch(/409 CONFLICT.*PUT \/v1\/agents\/a/);
    expect(exitCode).toBe(1);
  });
});

describe("looking", () => {
  test("lists agents, with and without the word, as a table and as JSON", async () => {
    expect(await perdure()).toMatchObject({ exitCode: 0, stdout: "", stderr: expect.stringContaining("no agents") });
    await perdure("create", await aFile("coder.md", CODER));
    await perdure("create", await aFile("b.json", "{}"));

    const { stdout } = await perdure();
    expect(stdout.split("\n")[0]).toMatch(/^AGENT +VERSION +BACKEND +MADE +WHAT IT IS$/);
    expect(stdout).toMatch(/^coder +1 +openai +\S.* ago +Writes code$/m);
    expect((await perdure("list")).stdout.split("\n")).toHaveLength(4);
    const lines = (await perdure("--json")).stdout.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).id)).toEqual(["b", "coder"]);
  });

  test("a list that was cut short says so", async () => {
    for (const id of ["a", "b", "c"]) await perdure("create", await aFile(`${id}.json`, "{}"));

    const { stdout, stderr } = await perdure("list", "--limit", "2");

    expect(stdout.split("\n")).toHaveLength(4);
    expect(stderr).toBe("there are more: --limit 4\n");
  });

  test("shows an agent, in one version or its newest, and no control character of it", async () => {
    await perdure("put", await aFile("coder.md", CODER));
    await perdure("put", await aFile("coder.md", `${CODER}\u001b[31mEvil\u009b2J`));

    const newest = await perdure("show", "coder");
    expect(newest.stdout).toMatch(/^coder · version 2 · from api$/m);
    expect(newest.stdout).toMatch(/^ {2}tools +bash, grep$/m);
    expect(newest.stdout).toMatch(/^ {2}policy +0 rules, then ask before tools that change the world$/m);
    for (const control of ["\u001b", "\u009b"]) expect(newest.stdout).not.toContain(control);
    const first = await perdure("show", "coder", "--version", "1", "--json");
    expect(JSON.parse(first.stdout)).toMatchObject({ version: 1, agent: { instructions: "Be brief." } });
  });

  test("deletes an agent, whose versions are still listed", async () => {
    await perdure("create", await aFile("a.json", "{}"));

    expect(await perdure("delete", "a")).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("is deleted") });
    expect((await perdure("versions", "a")).stdout).toMatch(/^a +1 .*\(deleted\)$/m);
  });

  test.each([
    ["show", "nobody"],
    ["versions", "nobody"],
    ["delete", "nobody"],
  ])("%s of an unknown agent is a failure in words", async (...args) => {
    const { exitCode, stdout, stderr } = await perdure(...args);

    expect(stderr).toMatch(/404 AGENT_NOT_FOUND: there is no agent nobody/);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  });

  test("an id that can be none never becomes a part of a URL", async () => {
    const { exitCode, stderr } = await perdure("show", "../sessions");

    expect(stderr).toMatch(/An agent's id is 1 to 64 letters/);
    expect(exitCode).toBe(2);
  });
});
