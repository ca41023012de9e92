/** Processes that are started by themselves: they join the stack of their state folder, or one that is named, and no other. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { scripted, startWorld, type World } from "../support/world.ts";

let world: World;
let elsewhere: string;
beforeAll(async () => {
  world = await startWorld();
  elsewhere = mkdtempSync(path.join(tmpdir(), "perdure-elsewhere-"));
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  rmSync(elsewhere, { recursive: true, force: true });
});

/** Its exit code and what it said; one that goes on is ended after a while, and has the code null. */
async function run(args: readonly string[], env: Record<string, string>) {
  const child = spawn(process.execPath, ["cli/main.ts", ...args], {
    env: {
      PATH: process.env["PATH"] ?? "",
      OPENAI_API_KEY: "sk-scripted",
      PERDURE_PORT: "0",
      PERDURE_SANDBOX: "local",
      ...env,
    },
    stdio: ["ignore", "ignore", "pipe"],
    timeout: 25_000,
    killSignal: "SIGKILL",
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, said };
}

test.each(["worker", "api"])(
  "a %s of a folder without a stack is told so, and asks no Temporal at all",
  {
    timeout: 40_000,
  },
  async (name) => {
    const { code, said } = await run([name], { PERDURE_STATE_DIR: elsewhere });

    expect(said).toContain("no stack runs on");
    expect(code).toBe(78);
  },
);

test.each(["worker", "api"])(
  "a %s with another store at this stack's own Temporal is refused, and the stack works on",
  {
    timeout: 60_000,
  },
  async (name) => {
    const { code, said } = await run([name], {
      PERDURE_STATE_DIR: elsewhere,
      TEMPORAL_ADDRESS: world.stack.temporalAddress,
    });

    expect(said).toMatch(/belongs to stack [0-9a-f-]{36}/);
    expect(code).toBe(78);
    const session = await world.createSession();
    await using stream = session.stream();
    await session.post(scripted({ text: "ours" }));
    expect(await stream.next("turn.completed")).toMatchObject({ output: "ours" });
  },
);

test("a client command whose folder has no stack asks nobody else", { timeout: 40_000 }, async () => {
  const { code, said } = await run(["sessions"], { PERDURE_STATE_DIR: elsewhere, PERDURE_PORT: "" });

  expect(said).toContain("no stack runs on");
  expect(code).toBe(4);
});
