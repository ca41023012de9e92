/** Work goes to a worker that has what it needs, waits for one that comes, and fails in words when nobody does. */
import { describe, expect, test } from "vitest";
import { BackendError, type SteppedBackend } from "../../backends/backend.ts";
import type { AgentInput } from "../../contract/agents.ts";
import type { WorkerAnnouncementInput } from "../../contract/backends.ts";
import { LIMITS } from "../../contract/limits.ts";
import { workerQueue } from "../../contract/task-queue.ts";
import { endStep } from "../../store/steps.ts";
import { announceWorker, withdrawWorker } from "../../store/workers.ts";
import { createToolbox } from "../../tools/registry.ts";
import { aCall, aMessage, anEnding, aStep, logOf, typesOf } from "../store/store-builder.ts";
import { createScriptedBackend } from "../support/scripted-backend.ts";
import { type ActivityWorld, anActivityWorld, aTool, runStep, runTool, waitedInVain } from "./activity-builder.ts";

const script = (...steps: readonly object[]): string => `@@SCRIPT${JSON.stringify(steps)}@@`;
const AGENT: AgentInput = { backend: "scripted", tools: ["deploy"] };
const OTHER = "there/1:2";

interface Said {
  readonly tools?: readonly string[];
  readonly backend?: string;
  readonly isValid?: boolean;
  readonly models?: readonly string[];
  readonly secrets?: readonly string[];
  readonly host?: string;
}

async function announce({ database }: ActivityWorld, said: Said, id = OTHER): Promise<void> {
  const { tools = [], backend = "scripted", isValid, models = [], secrets = [], host = "there" } = said;
  const announcement: WorkerAnnouncementInput = {
    host,
    secrets: [...secrets],
    tools: tools.map((name) => ({ name, description: "d", source: "s", changesWorld: false })),
    backends: [
      {
        name: backend,
        defaultModel: null,
        models: models.map((model) => ({ id: model })),
        validation: isValid === undefined ? null : { valid: isValid, errors: [], checkedAt: Date.now() },
      },
    ],
  };
  await announceWorker(database, { id, announcement });
}

const queueOf = (world: ActivityWorld, host = "there", worker = OTHER): string =>
  workerQueue(world.store.stack, { host, worker });
const elsewhere = (world: ActivityWorld, host?: string) => ({ type: "Elsewhere", details: [queueOf(world, host)] });

async function aStepToRun(
  agent: AgentInput = AGENT,
  content = "hi",
  backend: SteppedBackend = createScriptedBackend({ key: "k" }),
) {
  const world = await anActivityWorld({ agent, backends: [backend] });
  const request = { ...(await aMessage(world.database, world.sessionId, { content })), step: 1 };
  return { ...world, request };
}

async function aCallToRun(agent: AgentInput = AGENT) {
  const world = await anActivityWorld({ agent });
  const ids = await aMessage(world.database, world.sessionId);
  const { block } = aCall("deploy");
  const call = { block: { ...block, arguments: { text: "now" } } };
  await endStep(world.database, await aStep(world.database, ids), anEnding([call]));
  return { ...world, callId: block.callId };
}

describe("a step on a worker that lacks its agent's tool", () => {
  test("is done by a living worker that has it, and nothing is begun here", async () => {
    await using world = await aStepToRun();
    await announce(world, { tools: ["deploy"] });

    await expect(runStep(world, world.request)).rejects.toMatchObject(elsewhere(world));

    expect(await typesOf(world.database, world.sessionId)).not.toContain("step.started");
  });

  test("waits for one, says once what is missing and until when, and goes on as soon as there is one", async () => {
    await using world = await aStepToRun();
    const before = Date.now();

    for (let look = 0; look < 3; look++) {
      await expect(runStep(world, world.request)).rejects.toMatchObject({
        type: "NoWorker",
        nextRetryDelay: LIMITS.workerLookMs,
      });
    }
    const waiting = (await logOf(world.database, world.sessionId)).filter(({ type }) => type === "step.waiting");
    await announce(world, { tools: ["deploy"] });

    expect(waiting).toMatchObject([{ step: 1, missing: ["tool deploy"] }]);
    expect(waiting[0]).toHaveProperty("deadline", expect.any(Number));
    expect((waiting[0] as { deadline: number }).deadline).toBeGreaterThanOrEqual(before + LIMITS.workerWaitMs);
    expect((await typesOf(world.database, world.sessionId)).indexOf("turn.started")).toBeGreaterThan(0);
    await expect(runStep(world, world.request)).rejects.toMatchObject(elsewhere(world));
  });

  test("is not sent to one that was withdrawn, that is silent, or that has another tool or backend", async () => {
    await using world = await aStepToRun();
    await announce(world, { tools: ["deploy"] });
    await withdrawWorker(world.database, OTHER);
    await announce(world, { tools: ["deploy"] }, "silent");
    const seen_at = Date.now() - LIMITS.announcedKeptMs - 1;
    await world.database.write((tx) => tx.updateTable("workers").set({ seen_at }).execute());
    await world.database.write((tx) =>
      tx.insertInto("workers").values({ id: "odd", started_at: 1, seen_at: Date.now(), announcement: "{}" }).execute(),
    );
    await announce(world, { tools: ["deploy"], backend: "another" }, "no backend");
    await announce(world, { tools: ["other"] }, "no tool");

    await expect(runStep(world, world.request)).rejects.toMatchObject({ type: "NoWorker" });
  });

  test("a wait that ended with a worker is none when that one is lost later: the next has all of its time", async () => {
    await using world = await aStepToRun();
    await expect(runStep(world, world.request)).rejects.toMatchObject({ type: "NoWorker" });
    await waitedInVain(world);
    const looked_at = Date.now() - LIMITS.workerWaitForgottenMs;
    await world.database.write((tx) => tx.updateTable("work_waits").set({ looked_at }).execute());

    await expect(runStep(world, world.request)).rejects.toMatchObject({ type: "NoWorker" });
  });

  test("that is committed by now is found all the same", async () => {
    await using world = await aStepToRun({ backend: "scripted" }, script({ text: "done" }));
    const done = await runStep(world, world.request);
    const without = { ...world, deps: { ...world.deps, backends: new Map() } };

    expect(await runStep(without, world.request)).toEqual(done);
  });
});

describe("a step whose provider refuses this worker", () => {
  const AUTH: AgentInput = { backend: "scripted", model: "a-model", tools: [] };
  const refuses: SteppedBackend = {
    ...createScriptedBackend({ key: "k" }),
    name: "scripted",
    step: () => Promise.reject(new BackendError("AUTH_INVALID", "no such key")),
  };

  test("is done by one that its provider is known to answer", async () => {
    await using world = await aStepToRun(AUTH, "hi", refuses);
    await announce(world, { isValid: true, models: ["a-model"] });

    const answer = await runStep(world, world.request).catch((error: unknown) => error);

    expect(answer).toMatchObject(elsewhere(world));
  });

  test("fails when no other is any better off, and is not sent to and fro between two that are", async () => {
    await using world = await aStepToRun(AUTH, "hi", refuses);
    await announce(world, { isValid: false });
    await announce(world, { isValid: true }, "here/1");
    const own = { ...world, deps: { ...world.deps, worker: "here/1" } };

    expect(await runStep(own, world.request)).toMatchObject({ next: "failed" });
  });
});

describe("a call on a worker that lacks its tool", () => {
  test("is run by a living worker that has it", async () => {
    await using world = await aCallToRun();
    await announce(world, { tools: ["deploy"] });

    await expect(runTool(world, world.callId)).rejects.toMatchObject(elsewhere(world));

    expect(await typesOf(world.database, world.sessionId)).not.toContain("tool.started");
  });

  test("waits for one, which the log says of the call, once", async () => {
    await using world = await aCallToRun();
    for (let look = 0; look < 3; look++) {
      await expect(runTool(world, world.callId)).rejects.toMatchObject({ type: "NoWorker" });
    }

    const { callId } = world;
    const waiting = (await logOf(world.database, world.sessionId)).filter(({ type }) => type === "step.waiting");
    expect(waiting).toMatchObject([{ callId, missing: ["tool deploy"] }]);
  });

  test("that has ended is answered as it ended, whoever has the tool", async () => {
    await using world = await aCallToRun();
    const deps = { ...world.deps, tools: createToolbox([aTool(() => "done", { name: "deploy" })]) };
    const ended = await runTool({ ...world, deps }, world.callId);

    expect(await runTool(world, world.callId)).toMatchObject({ outcome: ended.outcome });
  });
});

test("a call goes where all of its agent's secrets are; where nobody has them it is run here", async () => {
  const agent: AgentInput = { ...AGENT, secrets: [{ name: "DEPLOY_KEY" }] };
  await using world = await aCallToRun(agent);
  const deps = { ...world.deps, tools: createToolbox([aTool(() => "done", { name: "deploy" })]) };
  await announce(world, { tools: ["deploy"], secrets: ["DEPLOY_KEY"] });

  await expect(runTool({ ...world, deps }, world.callId)).rejects.toMatchObject(elsewhere(world));
  await withdrawWorker(world.database, OTHER);

  expect(await runTool({ ...world, deps }, world.callId)).toMatchObject({ outcome: "ok" });
});
