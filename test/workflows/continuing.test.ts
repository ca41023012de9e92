/** A session continues as new wherever it is, and nothing that it was told is left behind in the old run. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CallId, MessageId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { closeSession, decideApproval, interruptTurn, removeMessage } from "../../workflows/messages.ts";
import { AGAIN, asking, DONE, Gate, NO_USAGE, type SessionRun, WorkflowWorld } from "../support/workflow-world.ts";
import { waitFor } from "../support/world.ts";

let world: WorkflowWorld;
beforeAll(async () => {
  world = await WorkflowWorld.start();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const LONG_MS = 60_000;
const soon = (ms = 3_600_000) => Date.now() + ms;

/** A turn that is just about to continue as new, where code of before 0.4 was held by a sandbox that does not come up. */
async function atBoundary(making: Gate): Promise<SessionRun> {
  const step = new Gate();
  const run = await world.session({
    ensureSandbox: () => making.opened,
    runStep: async ({ step: number }) => {
      if (number === 2) await step.opened;
      return number > 500 ? DONE : AGAIN;
    },
  });
  const first = (await run.history()).runId;
  await run.submit("m");
  await waitFor("its second step runs", () => run.steps.length === 2, LONG_MS);
  await run.grow();
  step.open();
  const isHeld = async (): Promise<boolean> => {
    const { runId } = await run.history();
    return runId !== first || (await run.progress()).running.length === 0;
  };
  await waitFor("its second step is over", isHeld, LONG_MS);
  return run;
}

const REASONS = { interrupt: "interrupted", replace: "replaced", close: "closed", cancel: "closed" } as const;

test("to interrupt, replace, close or cancel a turn that just continues as new ends it at once", async () => {
  const end = async (how: keyof typeof REASONS): Promise<void> => {
    const making = new Gate();
    await using run = await atBoundary(making);
    if (how === "interrupt") await run.handle.signal(interruptTurn, {});
    if (how === "replace") await run.submit("other", "interrupt");
    if (how === "close") await run.handle.signal(closeSession);
    if (how === "cancel") await run.handle.cancel();
    making.open();

    await waitFor("the turn has ended", () => run.ends.length > 0, LONG_MS);

    expect(run.ends[0]).toMatchObject({ outcome: "interrupted", reason: REASONS[how], messageId: "m" });
    expect(run.steps.filter(({ messageId }) => messageId === "m").length).toBeLessThan(400);
  };
  await Promise.all((["interrupt", "replace", "close", "cancel"] as const).map(end));
});

test("a stop that was carried ends the turn before its next step, and the first reason stands", async () => {
  const turn = { messageId: "m", turnId: "turn_m", step: 7, startedAt: 1, deadline: soon(), hasRunTools: false };
  const usage = NO_USAGE;
  const stopped = { ...turn, usage, stop: "replaced" };
  const queue = [{ messageId: "next", turnId: "turn_next" }];
  const state = { queue, recent: [], turn: stopped, closing: false, turns: 3, lastOutcome: null, usage };
  await using run = await world.session({}, { carried: { ...state, hasSandbox: true } } as object);
  await run.interrupt();

  await waitFor("the next turn has ended", () => run.ends.length === 2, LONG_MS);

  expect(run.ends).toMatchObject([{ reason: "replaced" }, { messageId: "next", outcome: "completed" }]);
  expect(run.steps.map(({ messageId }) => messageId)).toEqual(["next"]);
});

test("a turn that waits for people while its session is told of much goes on waiting in the next run, and hears them", async () => {
  const ran: CallId[] = [];
  const deadline = soon();
  const [first, second] = ["call_1", "call_2"] as const;
  await using run = await world.session({
    runStep: async ({ step }) =>
      step === 1 ? asking({ callId: first, deadline }, { callId: second, deadline }) : DONE,
    runTool: async ({ callId }) => {
      ran.push(callId);
      return { outcome: "ok", artifacts: false };
    },
  });
  await run.submit("m");
  await waitFor("it waits", async () => (await run.progress()).waits.length === 2, LONG_MS);
  const before = await run.history();
  await run.grow();
  await run.submit("x");
  await run.handle.executeUpdate(removeMessage, { args: [{ messageId: "x" as MessageId }] });

  await waitFor("a new run", async () => (await run.history()).runId !== before.runId, LONG_MS);
  const waits = [first, second].map((callId) => ({ kind: "approval", callId, name: "bash", deadline }));
  expect(await run.progress()).toMatchObject({ status: "waiting", waits, turn: { step: 1 } });

  const verdict = { next: "run" } as const;
  for (const callId of [second, first]) {
    await run.handle.executeUpdate(decideApproval, { args: [{ callId, kind: "approval", deadline, verdict }] });
  }
  await waitFor("the turn has ended", () => run.ends.length > 0, LONG_MS);

  expect(run.ends).toMatchObject([{ outcome: "completed", messageId: "m" }]);
  expect(ran.toSorted()).toEqual([first, second]);
  expect(run.steps.map(({ step }) => step)).toEqual([1, 2]);
});

test.each(["deadline", "interrupt", "told before"] as const)(
  "a wait that was carried ends by its %s, and the turn's own clock has stood still meanwhile",
  async (how) => {
    const expired: CallId[] = [];
    const deadline = soon(how === "deadline" ? 2_000 : 3_600_000);
    const call = { callId: "call_late", name: "bash", summary: "bash", wait: { kind: "approval", deadline } } as const;
    const turn = { messageId: "m", turnId: "turn_m", step: 4, startedAt: 1, usage: NO_USAGE, hasRunTools: false };
    const clock = { deadline: soon(-50_000), waitingSince: soon(-60_000) };
    const ended = [{ callId: call.callId, kind: "approval", deadline, verdict: { next: "run" } }];
    const carried = {
      ...{ queue: [], recent: [], closing: false, turns: 0, lastOutcome: null, usage: NO_USAGE, hasSandbox: true },
      turn: { ...turn, ...clock, calls: [call], ...(how === "told before" && { ended }) },
    };
    await using run = await world.session(
      {
        expireWait: async ({ callId }) => {
          expired.push(callId);
          return { next: "over" };
        },
      },
      { carried } as object,
    );
    if (how === "interrupt") {
      await waitFor("it waits", async () => (await run.progress()).waits.length === 1, LONG_MS);
      await run.interrupt();
    }

    await waitFor("the turn has ended", () => run.ends.length > 0, LONG_MS);

    expect(expired).toEqual(how === "deadline" ? ["call_late"] : []);
    expect(run.ends).toMatchObject([{ outcome: how === "interrupt" ? "interrupted" : "completed" }]);
    expect(run.steps.map(({ step }) => step)).toEqual(how === "interrupt" ? [] : [5]);
  },
);

test("an idle session that is interrupted over and over stays short, and closes", async () => {
  await using run = await world.session({});
  await run.submit("m");
  await waitFor("its turn is over", () => run.ends.length === 1, LONG_MS);
  const before = await run.history();

  for (let batch = 0; batch < 35; batch++) await Promise.all(Array.from({ length: 20 }, () => run.interrupt()));

  await waitFor("a new run", async () => (await run.history()).runId !== before.runId, LONG_MS);
  expect((await run.history()).length).toBeLessThan(3 * LIMITS.historyEventsIdle);
  await run.submit("again");
  await waitFor("it works", () => run.ends.length === 2, LONG_MS);
  await run.handle.signal(closeSession);
  await run.handle.result();
});

test("an idle sandbox that is looked after over and over leaves a short history, and a message goes first", async () => {
  let looks = 0;
  const agent = { name: "test", limits: undefined as never, hasTools: true, sandboxIdleMs: 5 };
  const limits = { stepsPerTurn: 100, turnTimeoutMs: 60_000, tokensPerTurn: 1e12, toolsInParallel: 8 };
  await using run = await world.session(
    {
      stopIdleSandbox: async () => {
        looks++;
        return { againInMs: 5 };
      },
    },
    { agent: { ...agent, limits } },
  );
  const first = (await run.history()).runId;
  await run.submit("m");
  await run.grow();
  await waitFor("a new run", async () => (await run.history()).runId !== first, LONG_MS);
  const before = looks;
  await waitFor("it is still looked at", () => looks > before + 2, LONG_MS);

  await run.submit("again");
  await waitFor("it works", () => run.ends.length === 2, LONG_MS);
});
