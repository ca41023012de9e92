/** `npm run demo` as somebody on a new machine runs it: without a key, to its end, and with nothing left behind. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeProcess, processesOf } from "../support/stray-processes.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "perdure-demo-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("it says that the model is scripted, runs a session to its artifact, says where things are, and leaves no process", async () => {
  const { exitCode, output } = await demo();

  expect(output).toContain("OPENAI_API_KEY is not set: a scripted model answers");
  expect(output).toContain("● bash");
  expect(output).toMatch(/↑ outputs\/report\.md \(\d+ B, text\/markdown/);
  expect(output).toMatch(/✓ completed · 6 steps/);
  expect(output).toMatch(/^artifact {3}.*report\.md\n {11}http:\/\/127\.0\.0\.1:\d+\/v1\/.*\/art_/m);
  expect(output).toMatch(/^api {8}http:\/\/127\.0\.0\.1:\d+ /m);
  expect(output).toMatch(/^temporal {3}127\.0\.0\.1:\d+$/m);
  expect(exitCode).toBe(0);
  expect(readFileSync(reportFile(), "utf8")).toContain("It has 48 words in 4 lines.");
  expect(processesOf(folder).map(describeProcess)).toEqual([]);
});

test("stopped in its middle, it says so and leaves no process", async () => {
  const { exitCode, output } = await demo("Nothing there yet.");

  expect(output).toContain("perdure demo: stopped by hand");
  expect(output).not.toContain("    at ");
  expect(exitCode).toBe(130);
  expect(processesOf(folder).map(describeProcess)).toEqual([]);
});

/** Runs the demo, and presses Ctrl-C when it has printed a text. */
async function demo(stopAt?: string): Promise<{ readonly exitCode: number | null; readonly output: string }> {
  const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
  const env = { PATH, HOME, NODE_COMPILE_CACHE, PERDURE_STATE_DIR: folder };
  const child = spawn(process.execPath, ["cli/demo.ts"], { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let isStopped = false;
  const take = (text: string): void => {
    output += text;
    if (isStopped || stopAt === undefined || !output.includes(stopAt)) return;
    isStopped = child.kill("SIGINT");
  };
  child.stdout.setEncoding("utf8").on("data", take);
  child.stderr.setEncoding("utf8").on("data", take);
  const exitCode = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { exitCode, output };
}

function reportFile(): string {
  const reports = path.join(folder, "demo", "reports");
  return path.join(reports, readdirSync(reports)[0] ?? "", "report.md");
}
