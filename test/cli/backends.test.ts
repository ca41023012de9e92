/** `perdure backends` over the real API, and `--tools`, whose faults end a worker with 78. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { toolsEnvironment } from "../../cli/tool-modules.ts";
import type { WorkerAnnouncement } from "../../contract/backends.ts";
import { announceWorker } from "../../store/workers.ts";
import { ApiWorld } from "../support/api-world.ts";
import { CommandRun } from "../support/command-run.ts";

async function backends(announced: WorkerAnnouncement["backends"], ...args: string[]) {
  await using world = await ApiWorld.start();
  if (announced.length > 0) {
    await announceWorker(world.store.database, { id: "w", announcement: { tools: [], backends: announced } });
  }
  await using run = new CommandRun(["backends", "--url", world.url, ...args]);
  return await run.ended;
}

const openai = { name: "openai", defaultModel: "gpt-5", models: [] };

describe("perdure backends", () => {
  test("says of each whether it is ready", async () => {
    const { stdout, exitCode } = await backends([{ ...openai, validation: { valid: true, errors: [], checkedAt: 1 } }]);

    expect(stdout).toMatch(/^BACKEND +STATE +WORKERS +DEFAULT MODEL +WHAT\n/);
    expect(stdout).toMatch(/^openai +ready +1 +gpt-5 +OpenAI, /m);
    expect(stdout).toMatch(/^copilot +no worker +0 +- /m);
    expect(exitCode).toBe(0);
  });

  test("says why one cannot be used, and nothing that a terminal acts on", async () => {
    const errors = [{ code: "AUTH_REQUIRED", message: "there is no key:\nset OPENAI_API_KEY\u001b[2J" }];
    const { stdout } = await backends([{ ...openai, validation: { valid: false, errors, checkedAt: 1 } }]);

    expect(stdout).toMatch(
      /^openai +not usable +1 .*\n {2}AUTH_REQUIRED: there is no key:\n {2}set OPENAI_API_KEY␛\[2J\n/m,
    );
  });

  test("tells one that no worker has tried yet from one without a worker", async () => {
    expect((await backends([{ ...openai, validation: null }])).stdout).toMatch(/^openai +not tried yet +1 /m);
    expect((await backends([])).stdout).toMatch(/^openai +no worker +0 /m);
  });

  test("--json prints one line for each, as the API has it", async () => {
    const { stdout } = await backends([{ ...openai, validation: null }], "--json");

    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { name: string; workers: number });
    expect(lines.find(({ name }) => name === "openai")).toMatchObject({ workers: 1, defaultModel: "gpt-5" });
  });

  test("without an API it says so", async () => {
    await using run = new CommandRun(["backends", "--url", "http://127.0.0.1:1"]);

    expect(await run.ended).toMatchObject({ exitCode: 4, stdout: "" });
  });
});

describe("--tools", () => {
  test("hands its modules on after those of the environment, files by their whole path", () => {
    const here = path.resolve("package.json");
    const given = { PERDURE_TOOLS: "./a.ts", OTHER: "1" };

    expect(toolsEnvironment(given, { tools: ["package.json", "a-package"] })).toEqual({
      PERDURE_TOOLS: `./a.ts:${here}:a-package`,
      OTHER: "1",
    });
    expect(toolsEnvironment({ OTHER: "1" }, { tools: [] })).toEqual({ OTHER: "1" });
    expect(() => toolsEnvironment({}, { tools: ["a:b"] })).toThrow("--tools a:b: expected a path without a colon");
  });

  test("a worker whose modules cannot be used says so in one line per fault, and ends with 78", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "perdure-tools-"));
    const broken = path.join(folder, "broken.ts");
    const taken = path.join(folder, "taken.ts");
    writeFileSync(broken, 'throw new Error("no weather today");');
    const tool = '{ name: "bash", description: "x", parameters: { type: "object" }, execute() {} }';
    writeFileSync(taken, `export default { name: "p", tools: [${tool}] };`);
    const env = {
      PERDURE_TOOLS: broken,
      PERDURE_STATE_DIR: path.join(folder, "state"),
      TEMPORAL_ADDRESS: "127.0.0.1:1",
    };

    await using run = new CommandRun(["worker", "--tools", taken, "--tools", "./missing.ts"], { env });
    const { exitCode, stderr, stdout } = await run.ended;
    rmSync(folder, { recursive: true, force: true });

    expect(stderr.trimEnd().split("\n")).toEqual([
      `perdure worker: ${broken}: it cannot be loaded: Error: no weather today`,
      expect.stringMatching(
        /^perdure worker: .*taken\.ts: the plugin p: the tool "bash" .* there is a built-in tool bash/,
      ),
      "perdure worker: ./missing.ts: there is no such module",
    ]);
    expect([exitCode, stdout]).toEqual([78, ""]);
  });

  test("a worker with a wrong environment ends with 78 too", async () => {
    await using run = new CommandRun(["worker"], { env: { PERDURE_PORT: "x" } });

    expect(await run.ended).toMatchObject({ exitCode: 78, stderr: expect.stringContaining("PERDURE_PORT") });
  });

  test("a worker that finds no Temporal says where it looks, waits, and can be stopped", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "perdure-tools-"));
    await using run = new CommandRun(["worker"], {
      env: { TEMPORAL_ADDRESS: "127.0.0.1:1", PERDURE_STATE_DIR: path.join(folder, "state") },
    });

    await run.until("no Temporal server can be reached at 127.0.0.1:1");
    await run.until("the worker waits for Temporal");
    run.signal("SIGTERM");
    const { stderr } = await run.ended;
    rmSync(folder, { recursive: true, force: true });

    expect(stderr).not.toContain("    at ");
  });

  test("an api with a wrong environment ends with 78", async () => {
    await using run = new CommandRun(["api"], { env: { PERDURE_PORT: "x" } });

    expect(await run.ended).toMatchObject({ exitCode: 78, stderr: expect.stringContaining("PERDURE_PORT") });
  });
});
