/** A call over its attempts: run by its replay rule, asked about when its outcome is unknown, and ended once. */
import { ActivityCancellationDetails } from "@temporalio/common";
import { describe, expect, test } from "vitest";
import type { AgentInput } from "../../contract/agents.ts";
import type { CallId } from "../../contract/ids.ts";
import { decideApproval } from "../../store/approvals.ts";
import { beginCall } from "../../store/calls.ts";
import type { Database } from "../../store/database.ts";
import { endStep, type MadeCall } from "../../store/steps.ts";
import { endTurn, type TurnIds } from "../../store/turns.ts";
import { expireWait } from "../../store/waits.ts";
import { createToolbox } from "../../tools/registry.ts";
import type { Tool, ToolResult } from "../../tools/tool.ts";
import { aCall, aMessage, anEnding, aStep, typesOf } from "../store/store-builder.ts";
import { approval, callOf, decide, factsOf, HOUR_MS, statusOf } from "../store/waits-builder.ts";
import { type ActivityWorld, anActivityWorld, anAttempt, aTool, runTool, waitedInVain } from "./activity-builder.ts";

interface Made extends ActivityWorld {
  readonly ids: TurnIds;
  readonly callId: CallId;
  /** What each run was given. */
  readonly runs: string[];
}

/** A session whose first step has made one call of a tool that notes each of its runs. */
async function aMadeCall(
  of: { readonly tool?: Partial<Tool>; readonly agent?: AgentInput; readonly wait?: MadeCall["wait"] } = {},
): Promise<Made> {
  const runs: string[] = [];
  const tool = aTool((_context, { text }) => `run ${runs.push(text)}`, of.tool);
  const world = await anActivityWorld({ agent: { tools: [tool.name], ...of.agent }, tools: [tool] });
  const ids = await aMessage(world.database, world.sessionId);
  const { block } = aCall(tool.name);
  const call = { block: { ...block, arguments: { text: "first" } }, ...(of.wait && { wait: of.wait }) };
  await endStep(world.database, await aStep(world.database, ids), anEnding([call]));
  return { ...world, ids, callId: block.callId, runs };
}

/** An attempt whose worker was killed while the tool ran. */
async function loseAttempt({ database, sessionId, callId }: Made): Promise<void> {
  await beginCall(database, { sessionId, callId }, undefined);
}

const resultOf = async ({ database, sessionId, callId }: Made): Promise<unknown> =>
  (await callOf(database, sessionId, callId)).results;
const typesOfCall = async ({ database, sessionId, callId }: Made): Promise<readonly string[]> =>
  (await factsOf(database, sessionId, callId)).map(({ type }) => type);
const attemptsOf = async (database: Database): Promise<readonly (number | null)[]> =>
  (await database.read.selectFrom("attempts").select("ended_at").execute()).map((row) => row.ended_at);

test("a call runs once, and every repeat of it finds its outcome", async () => {
  await using made = await aMadeCall();

  expect(await runTool(made, made.callId)).toEqual({ outcome: "ok", artifacts: false });
  expect(await runTool(made, made.callId)).toMatchObject({ outcome: "ok" });

  expect(made.runs).toEqual(["first"]);
  expect(await typesOfCall(made)).toEqual(["tool.started", "tool.completed"]);
  for (const endedAt of await attemptsOf(made.database)) expect(endedAt).not.toBeNull();
});

test.for(["safe", "keyed"] as const)("a lost call of a %s tool runs again by itself", async (replay) => {
  await using made = await aMadeCall({ tool: { replay } });
  await loseAttempt(made);

  expect(await runTool(made, made.callId)).toMatchObject({ outcome: "ok" });

  expect(made.runs).toEqual(["first"]);
  expect(await typesOfCall(made)).toEqual(["tool.started", "tool.completed"]);
});

describe("a lost call of a tool that asks", () => {
  test("is not run again: it waits for a person, who is told what is known", async () => {
    await using made = await aMadeCall({ agent: { limits: { approvalTimeoutMs: 90_000 } } });
    await loseAttempt(made);

    const { wait, outcome } = await runTool(made, made.callId);

    expect(made.runs).toEqual([]);
    expect(outcome).toBe("unknown");
    expect(wait?.kind).toBe("approval");
    expect((wait?.deadline ?? 0) - Date.now()).toBeGreaterThan(80_000);
    expect((await factsOf(made.database, made.sessionId, made.callId))[1]).toMatchObject({
      type: "approval.requested",
      arguments: { text: "first" },
      deadline: wait?.deadline,
      reason: expect.stringContaining("the worker was lost while this ran"),
    });
    expect(await statusOf(made.database, made.sessionId)).toBe("waiting");
    expect((await callOf(made.database, made.sessionId, made.callId)).row).toMatchObject({ state: "waiting" });
    for (const endedAt of await attemptsOf(made.database)) expect(endedAt).not.toBeNull();
  });

  test("gives the same wait again when its answer was lost, and asks nobody twice", async () => {
    await using made = await aMadeCall();
    await loseAttempt(made);

    const first = await runTool(made, made.callId);

    expect(await runTool(made, made.callId)).toEqual(first);
    expect(await runTool(made, made.callId)).toEqual(first);
    expect(await typesOfCall(made)).toEqual(["tool.started", "approval.requested"]);
  });

  test("runs once more when that is approved, and asks anew when it is lost once more", async () => {
    await using made = await aMadeCall();
    const { database, sessionId, callId } = made;
    await loseAttempt(made);
    await runTool(made, callId);
    await decideApproval(database, { sessionId, callId, body: decide("approve") });
    await loseAttempt(made);

    expect(await runTool(made, callId)).toMatchObject({ outcome: "unknown", wait: { kind: "approval" } });
    expect(made.runs).toEqual([]);
    await decideApproval(database, { sessionId, callId, body: decide("approve") });
    expect(await runTool(made, callId)).toEqual({ outcome: "ok", artifacts: false });

    expect(made.runs).toEqual(["first"]);
    const asks = ["approval.requested", "approval.decided"];
    expect(await typesOfCall(made)).toEqual(["tool.started", ...asks, ...asks, "tool.completed"]);
    expect(await statusOf(database, sessionId)).toBe("running");
  });

  test("is unknown when that is denied, and is never run", async () => {
    await using made = await aMadeCall();
    const { database, sessionId, callId } = made;
    await loseAttempt(made);
    await runTool(made, callId);

    await decideApproval(database, { sessionId, callId, body: decide("deny", { reason: "once is enough" }) });

    expect(await runTool(made, callId)).toMatchObject({ outcome: "unknown" });
    expect(made.runs).toEqual([]);
    expect(await resultOf(made)).toMatchObject([
      { outcome: "unknown", text: expect.stringContaining("once is enough") },
    ]);
  });

  test("is unknown when nobody decides in time", async () => {
    await using made = await aMadeCall();
    const { database, sessionId, callId } = made;
    await loseAttempt(made);
    await runTool(made, callId);

    expect(await expireWait(database, { sessionId, callId, kind: "approval" })).toEqual({ next: "over" });

    expect(await runTool(made, callId)).toMatchObject({ outcome: "unknown" });
    expect(made.runs).toEqual([]);
  });

  test("is unknown at once where nobody can be asked", async () => {
    await using made = await aMadeCall({ agent: { approver: "none" } });
    await loseAttempt(made);

    expect(await runTool(made, made.callId)).toEqual({ outcome: "unknown", artifacts: true });

    expect(made.runs).toEqual([]);
    expect(await typesOfCall(made)).toEqual(["tool.started", "tool.completed"]);
    expect(await resultOf(made)).toMatchObject([
      { outcome: "unknown", text: expect.stringContaining("nobody can be") },
    ]);
  });

  test("asks nobody when its turn has ended meanwhile", async () => {
    await using made = await aMadeCall();
    await loseAttempt(made);
    await endTurn(made.database, { ...made.ids, outcome: "interrupted", reason: "interrupted" });

    expect(await runTool(made, made.callId)).toMatchObject({ outcome: "interrupted" });

    expect(made.runs).toEqual([]);
    expect(await typesOf(made.database, made.sessionId)).not.toContain("approval.requested");
  });
});

describe("a call that waits for its approval", () => {
  const wait = {
    deadline: Date.now() + HOUR_MS,
    request: approval({ schema: { type: "object", properties: { text: { type: "string" } } }, argumentKinds: {} }),
  };

  test("is never begun, whoever asks for it and however often", async () => {
    await using made = await aMadeCall({ wait });

    const answers = await Promise.all(Array.from({ length: 5 }, () => runTool(made, made.callId)));

    for (const answer of answers) {
      expect(answer).toEqual({
        outcome: "unknown",
        artifacts: true,
        wait: { kind: "approval", deadline: wait.deadline },
      });
    }
    expect(made.runs).toEqual([]);
    expect(await typesOfCall(made)).toEqual(["approval.requested"]);
  });

  test("runs with the arguments that a person gave it, and the model is told so", async () => {
    await using made = await aMadeCall({ wait });
    const { database, sessionId, callId } = made;
    const body = decide("approve", { arguments: { text: "edited" } });
    await decideApproval(database, { sessionId, callId, body });

    expect(await runTool(made, callId)).toMatchObject({ outcome: "ok" });

    expect(made.runs).toEqual(["edited"]);
    const text = '[A person changed the arguments of this call to {"text":"edited"} before it ran.]\nrun 1';
    expect(await resultOf(made)).toMatchObject([{ outcome: "ok", text }]);
    const started = (await factsOf(database, sessionId, callId)).find(({ type }) => type === "tool.started");
    expect(started).toMatchObject({ arguments: { text: "edited" } });
  });

  test("does not run when it was denied", async () => {
    await using made = await aMadeCall({ wait });
    const { database, sessionId, callId } = made;
    await decideApproval(database, { sessionId, callId, body: decide("deny") });

    expect(await runTool(made, callId)).toMatchObject({ outcome: "denied" });

    expect(made.runs).toEqual([]);
    expect(await typesOfCall(made)).not.toContain("tool.started");
  });
});

test("a tool that no worker has had for as long as it may wait is an error in words, and the turn can go on", async () => {
  await using made = await aMadeCall();
  const without = { ...made, deps: { ...made.deps, tools: createToolbox() } };

  await expect(runTool(without, made.callId)).rejects.toMatchObject({ type: "NoWorker" });
  await waitedInVain(without);
  expect(await runTool(without, made.callId)).toEqual({ outcome: "error", artifacts: false });

  expect(await resultOf(made)).toMatchObject([
    { text: "No worker has had the tool work for 300 s, where the session's sandbox is." },
  ]);
});

test("the agent's environment, the call and the number of the attempt reach the tool", async () => {
  const seen: unknown[] = [];
  const run: Tool["run"] = async ({ ...args }, { environment, callId, sessionId, attempt }) => {
    seen.push({ ...args }, { ...environment }, callId, sessionId, attempt);
    return { outcome: "ok", text: "" };
  };
  await using made = await aMadeCall({ tool: { run, replay: "keyed" }, agent: { environment: { REGION: "eu" } } });
  await loseAttempt(made);

  await runTool(made, made.callId);

  expect(seen).toEqual([{ text: "first" }, { REGION: "eu" }, made.callId, made.sessionId, 2]);
});

describe("a worker that goes down", () => {
  /** Runs until the worker goes down, and then ends as the test says. */
  async function cutOff(end: (reason: unknown) => ToolResult) {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const run: Tool["run"] = async (_args, { signal }) => {
      begin();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return end(signal.reason);
    };
    const made = await aMadeCall({ tool: { run } });
    const attempt = anAttempt();
    const answer = runTool(made, made.callId, attempt);
    await begun;
    attempt.cancel("WORKER_SHUTDOWN", new ActivityCancellationDetails({ workerShutdown: true }));
    return { made, answer };
  }

  test.for([
    [
      "throws",
      (reason: unknown): ToolResult => {
        throw reason;
      },
    ],
    ["says that it was interrupted", (): ToolResult => ({ outcome: "interrupted", text: "stopped" })],
  ] as const)("leaves a call to the next attempt whose tool %s", async ([, end]) => {
    const { made, answer } = await cutOff(end);
    await using _ = made;

    await expect(answer).rejects.toMatchObject({ type: "WorkerShutdown", nextRetryDelay: 1 });
    expect((await callOf(made.database, made.sessionId, made.callId)).row).toMatchObject({ state: "running" });
    expect(await typesOfCall(made)).toEqual(["tool.started"]);
  });

  test("keeps a result that came in time", async () => {
    const { made, answer } = await cutOff(() => ({ outcome: "ok", text: "in time" }));
    await using _ = made;

    expect(await answer).toMatchObject({ outcome: "ok" });
    expect(await resultOf(made)).toMatchObject([{ outcome: "ok", text: "in time" }]);
  });
});

test("a result of any length is bounded on its way into the transcript", async () => {
  await using made = await aMadeCall({ tool: { run: async () => ({ outcome: "ok", text: "x".repeat(1_000_000) }) } });

  await runTool(made, made.callId);

  const [result] = (await callOf(made.database, made.sessionId, made.callId)).results;
  expect(JSON.stringify(result).length).toBeLessThan(70_000);
});
