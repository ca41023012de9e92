/** A worker lives through what a tool of one's own leaves behind, and ends in words with a fault of its own. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const HEAD = `
  import { setTimeout as sleep } from "node:timers/promises";
  const { PluginWork } = await import(process.argv[1]);
  const { watchLooseEnds } = await import(process.argv[2]);
  const work = new PluginWork();
  const log = (level, fields, message) => console.log(JSON.stringify({ level, ...fields, message }));
  watchLooseEnds({ work, log, redact: (text) => text.replaceAll("hush", "[redacted]") });
`;
const FAULTS = `
  setTimeout(() => { throw new Error("a timer, hush"); }, 1);
  void (async () => { await sleep(5); throw new Error("a promise"); })();
  queueMicrotask(() => { throw "a text"; });
`;

interface Line {
  readonly level: string;
  readonly tool?: string;
  readonly stack?: string;
}

/** What a process with this code logs, and how it ends. */
async function play(code: string): Promise<{ lines: Line[]; exitCode: number }> {
  const modules = ["../../tools/plugin-work.ts", "../../workers/loose-ends.ts"];
  const files = modules.map((module) => new URL(module, import.meta.url).href);
  const args = ["--input-type=module", "--eval", HEAD + code, ...files];
  const ended = promisify(execFile)(process.execPath, args);
  const { stdout, code: exitCode = 0 } = (await ended.catch((error: unknown) => error)) as {
    stdout: string;
    code?: number;
  };
  const lines = stdout.trim().split("\n");
  return { lines: lines.map((line) => JSON.parse(line) as Line), exitCode };
}

test("what a call leaves behind is told with the tool's name, and nothing ends", async () => {
  const { lines, exitCode } = await play(
    `work.run({ tool: "forecast" }, () => { ${FAULTS} }); await sleep(50); console.log('{"level":"alive"}');`,
  );

  expect(exitCode).toBe(0);
  expect(lines.map(({ level, tool }) => `${level} ${tool}`)).toEqual([
    ...Array.from({ length: 3 }, () => "error forecast"),
    "alive undefined",
  ]);
  expect(lines.map(({ stack }) => stack?.split("\n")[0]).sort()).toEqual([
    "Error: a promise",
    "Error: a timer, [redacted]",
    "a text",
    undefined,
  ]);
});

test("a fault of the worker's own ends it, after a line that says so", async () => {
  const { lines, exitCode } = await play(`void Promise.reject(new Error("ours, hush")); await sleep(1_000);`);

  expect(exitCode).toBe(1);
  expect(lines).toMatchObject([{ level: "fatal", stack: expect.stringContaining("ours, [redacted]") }]);
});

test.each([
  ["a call", '{ tool: "forecast" }', { exitCode: 1, level: "fatal", tool: "forecast" }],
  ["a module that is loaded", '{ module: "./a.ts" }', { exitCode: 78, level: "fatal", module: "./a.ts" }],
])("%s that ends the worker is named", async (_, place, { exitCode, ...line }) => {
  const played = await play(`work.run(${place}, () => setTimeout(() => process.exit(0), 1)); await sleep(1_000);`);

  expect(played.exitCode).toBe(exitCode);
  expect(played.lines).toMatchObject([{ ...line, code: 0 }]);
});
