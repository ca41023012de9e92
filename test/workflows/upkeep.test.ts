/** No message waits for what is done beside turns: keeping a workspace, stopping a sandbox, ending what a stop has left. */
import { ApplicationFailure } from "@temporalio/common";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TurnId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { closeSession } from "../../workflows/messages.ts";
import { AGAIN, DONE, Gate, WorkflowWorld } from "../support/workflow-world.ts";
import { waitFor } from "../support/world.ts";

let world: WorkflowWorld;
beforeAll(async () => {
  world = await WorkflowWorld.start();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const LONG_MS = 60_000;
const toolThenDone = async ({ step }: { readonly step: number }) => (step === 1 ? AGAIN : DONE);
const limits = { stepsPerTurn: 100, turnTimeoutMs: 60_000, tokensPerTurn: 1e12, toolsInParallel: 8 };

test("messages go ahead of a snapshot that takes long, and what their turns have left is kept by the next one", async () => {
  const gate = new Gate();
  const kept: (TurnId | undefined)[] = [];
  await using run = await world.session({
    runStep: toolThenDone,
    snapshotWorkspace: async ({ turnId }) => {
      kept.push(turnId);
      if (kept.length === 1) await gate.opened;
    },
  });
  for (const [index, id] of ["a", "b", "c"].entries()) {
    await run.submit(id);
    await waitFor(`turn ${id} has ended`, () => run.ends.length === index + 1, LONG_MS);
  }
  await waitFor("it is idle", async () => (await run.progress()).status === "idle");
  expect(kept).toEqual(["turn_a"]);

  gate.open();
  await waitFor("the last one is kept", () => kept.length === 2, LONG_MS);
  expect(kept).toEqual(["turn_a", "turn_c"]);
});

test("a message goes ahead of an idle stop that takes long", async () => {
  const gate = new Gate();
  let looks = 0;
  await using run = await world.session(
    {
      stopIdleSandbox: async () => {
        looks++;
        await gate.opened;
        return { againInMs: 60_000 };
      },
    },
    { agent: { name: "test", limits, hasTools: true, sandboxIdleMs: 50 } },
  );
  await run.submit("a");
  await waitFor("it is being stopped", () => looks >= 1, LONG_MS);
  await run.submit("b");

  await waitFor("the turn has ended", () => run.ends.length === 2);
  gate.open();
});

test("a sandbox that comes up after its turn has ended is stopped when it idles", async () => {
  const gate = new Gate();
  let looks = 0;
  await using run = await world.session(
    {
      ensureSandbox: async () => await gate.opened,
      stopIdleSandbox: async () => {
        looks++;
        return { againInMs: 0 };
      },
    },
    { agent: { name: "test", limits, hasTools: true, sandboxIdleMs: 50 } },
  );
  await run.submit("a");
  await waitFor("the turn has ended", () => run.ends.length === 1, LONG_MS);
  await waitFor("it is idle", async () => (await run.progress()).status === "idle", LONG_MS);
  gate.open();

  await waitFor("it is being stopped", () => looks === 1, LONG_MS);
});

test("what a stopped turn has left is ended beside the next one when it cannot be ended at once", async () => {
  let tries = 0;
  const never = new Gate();
  await using run = await world.session({
    runStep: async ({ messageId }) => {
      if (messageId === "a") await never.opened;
      return DONE;
    },
    stopCalls: async () => {
      tries++;
      throw ApplicationFailure.retryable("the engine is away");
    },
    uploadArtifacts: async () => {
      await never.opened;
      return { uploaded: 0, failed: 0 };
    },
  });
  await run.submit("a");
  await waitFor("it runs", () => run.steps.length === 1);
  await run.submit("b", "interrupt");

  await waitFor("the next turn has ended", () => run.ends.length === 2, 4 * LIMITS.upkeepWaitMs);
  never.open();
  expect(run.ends).toMatchObject([{ reason: "replaced" }, { outcome: "completed" }]);
  expect(tries).toBeGreaterThan(1);
});

test("a session closes while its sandbox does not come up and its snapshot does not end", async () => {
  const never = new Gate();
  await using run = await world.session({
    runStep: toolThenDone,
    ensureSandbox: () => never.opened,
    snapshotWorkspace: () => never.opened,
  });
  await run.submit("a");
  await waitFor("its turn is over", () => run.ends.length === 1, LONG_MS);

  await run.handle.signal(closeSession);
  await run.handle.result();
  never.open();
});
