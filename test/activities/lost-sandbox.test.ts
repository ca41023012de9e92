/** A call whose sandbox is lost: never run again where it may have run, and run where it was not begun. */
import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { openSandbox } from "../../activities/session-sandbox.ts";
import type { CallId } from "../../contract/ids.ts";
import { type Sandbox, SandboxError } from "../../sandbox/provider.ts";
import { endStep } from "../../store/steps.ts";
import type { Tool, ToolContext } from "../../tools/tool.ts";
import { run, text } from "../sandbox/commands.ts";
import { aCall, aMessage, anEnding, aStep, typesOf } from "../store/store-builder.ts";
import { callOf } from "../store/waits-builder.ts";
import { waitFor } from "../support/world.ts";
import { type ActivityWorld, anActivityWorld, aTool, runTool } from "./activity-builder.ts";

interface Made extends ActivityWorld {
  readonly callId: CallId;
  /** The sandboxes that the tool was run in. */
  readonly ranIn: string[];
}

/** A session with one call of a tool whose runs do what is said, one after another. */
async function aMadeCall(
  replay: Tool["replay"],
  ...runs: ((context: ToolContext) => Promise<string>)[]
): Promise<Made> {
  const ranIn: string[] = [];
  const tool = aTool(
    async (context) => {
      ranIn.push(context.sandbox.id);
      return (await runs[ranIn.length - 1]?.(context)) ?? "ran";
    },
    { replay },
  );
  const world = await anActivityWorld({ agent: { tools: [tool.name] }, tools: [tool] });
  const ids = await aMessage(world.database, world.sessionId);
  const { block } = aCall(tool.name);
  const call = { block: { ...block, arguments: { text: "once" } } };
  await endStep(world.database, await aStep(world.database, ids), anEnding([call]));
  return { ...world, callId: block.callId, ranIn };
}

const lose = (sandbox: Sandbox): void => rmSync(path.dirname(sandbox.workspace), { recursive: true, force: true });
/** What a sandbox says whose folder is gone, or a worker that dies just then. */
const loseIt = async ({ sandbox }: ToolContext): Promise<string> => {
  lose(sandbox);
  throw new SandboxError("lost", "it is gone");
};
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
const die = async (): Promise<string> => {
  throw new Error("the worker was killed");
};
const dieWithIt = async ({ sandbox }: ToolContext): Promise<string> => {
  lose(sandbox);
  return await die();
};
const resultOf = async ({ database, sessionId, callId }: Made): Promise<string> =>
  JSON.stringify((await callOf(database, sessionId, callId)).results);

/** A sandbox's name ends with its generation and a tag of its session's incarnation. */
function generationIn(id: string): string | undefined {
  return /-(\d+)(?:-[a-z0-9]+)?$/.exec(id)?.[1];
}

test("lost in mid-run: what may be run again is, in the next sandbox", async () => {
  await using made = await aMadeCall("safe", loseIt);

  expect(await runTool(made, made.callId)).toMatchObject({ outcome: "ok" });

  expect(made.ranIn.map(generationIn)).toEqual(["1", "2"]);
  expect(await resultOf(made)).toContain("[The sandbox was lost.");
});

test("lost in mid-run: anything else is unknown, is not run again, and the next sandbox is there", async () => {
  await using made = await aMadeCall("keyed", loseIt);

  expect(await runTool(made, made.callId)).toMatchObject({ outcome: "unknown" });

  expect(made.ranIn).toHaveLength(1);
  expect(await resultOf(made)).toMatch(/\[The sandbox was lost\..*was not run again/);
  expect(await typesOf(made.database, made.sessionId)).toContain("sandbox.replaced");
});

test("lost together with its worker: the next attempt does not run it again in another sandbox", async () => {
  await using made = await aMadeCall("keyed", dieWithIt);
  await expect(runTool(made, made.callId)).rejects.toThrow("the worker was killed");

  expect(await runTool(made, made.callId)).toMatchObject({ outcome: "unknown" });

  expect(made.ranIn).toHaveLength(1);
});

test("lost before it was begun: it runs in the next sandbox, also when a worker died while that was made", async () => {
  await using made = await aMadeCall("keyed");
  lose(await openSandbox(made.deps, made.sessionId));
  // The worker dies while it makes the next sandbox: the call has begun, and nothing of it has run.
  const local = made.deps.sandboxes.provider("local");
  const opening = () => ({ ...local, open: die as never });
  const dying = { ...made.deps.sandboxes, provider: opening, allowed: opening };
  await expect(runTool({ ...made, deps: { ...made.deps, sandboxes: dying } }, made.callId)).rejects.toThrow("killed");

  expect(await runTool(made, made.callId)).toMatchObject({ outcome: "ok" });

  expect(made.ranIn.map(generationIn)).toEqual(["2"]);
});

test("a worker lost in mid-run with the sandbox still there: it is run again under its key", async () => {
  await using made = await aMadeCall("keyed", die);
  await expect(runTool(made, made.callId)).rejects.toThrow("the worker was killed");

  expect(await runTool(made, made.callId)).toMatchObject({ outcome: "ok" });

  expect(new Set(made.ranIn).size).toBe(1);
});

test.runIf(process.platform === "linux")(
  "what a lost sandbox has left running is ended before the next one is made",
  async () => {
    await using world = await anActivityWorld();
    const sandbox = await openSandbox(world.deps, world.sessionId);
    const pid = Number(text((await run(sandbox, "setsid sleep 60 >/dev/null 2>&1 & echo $!")).stdout));
    lose(sandbox);
    expect(isAlive(pid)).toBe(true);

    await using _next = await openSandbox(world.deps, world.sessionId);

    await waitFor("it has ended", () => !isAlive(pid));
  },
);

test("a sandbox that is lost between a loss that was told and the next one is told again", async () => {
  await using made = await aMadeCall("keyed", loseIt);
  await runTool(made, made.callId);
  lose(await openSandbox(made.deps, made.sessionId));

  await openSandbox(made.deps, made.sessionId);

  const told = await made.database.read.selectFrom("sandboxes").select(["generation", "told"]).execute();
  expect(told).toEqual([
    { generation: 1, told: 0 },
    { generation: 2, told: 1 },
    { generation: 3, told: 0 },
  ]);
});
