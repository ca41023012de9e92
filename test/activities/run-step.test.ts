/** A step over its attempts: one committed reply with its state, losses that are nobody's fault, and news for the workflow. */
import { ActivityCancellationDetails } from "@temporalio/common";
import { describe, expect, test } from "vitest";
import { BackendError, type StepInput, type StepOutput, type SteppedBackend } from "../../backends/backend.ts";
import { type AgentInput, ClientTool } from "../../contract/agents.ts";
import type { SessionEvent } from "../../contract/events.ts";
import type { SessionId } from "../../contract/ids.ts";
import type { StepRequest } from "../../contract/steps.ts";
import { NO_USAGE } from "../../contract/usage.ts";
import { configureSession } from "../../store/configuration.ts";
import type { Database } from "../../store/database.ts";
import { StoreError } from "../../store/error.ts";
import { removeMessage } from "../../store/messages.ts";
import { messagesAfter } from "../../store/transcript.ts";
import { endTurn, type TurnIds } from "../../store/turns.ts";
import { aMessage, logOf, typesOf } from "../store/store-builder.ts";
import { createScriptedBackend } from "../support/scripted-backend.ts";
import { type ActivityWorld, anActivityWorld, anAttempt, runStep, waitedInVain } from "./activity-builder.ts";

const AGENT: AgentInput = { backend: "scripted" };
const script = (...steps: readonly object[]): string => `@@SCRIPT${JSON.stringify(steps)}@@`;

/** A backend that notes what it is given, and does before each step what the test says. */
function watched(before: (call: number) => void = () => undefined) {
  const inputs: StepInput[] = [];
  const scripted = createScriptedBackend({ key: "k" });
  const backend: SteppedBackend = {
    name: scripted.name,
    listModels: () => scripted.listModels(),
    validate: () => scripted.validate(),
    keepsState: true,
    async step(input, sink, signal): Promise<StepOutput> {
      before(inputs.push(input));
      return await scripted.step(input, sink, signal);
    },
  };
  return { backend, inputs };
}

const lost = (): BackendError => new BackendError("PROVIDER_ERROR", "the runtime is gone", { isLost: true });
const refused = (): BackendError => new BackendError("PROVIDER_ERROR", "over capacity");

async function aTurn(world: ActivityWorld, content: string): Promise<TurnIds> {
  return await aMessage(world.database, world.sessionId, { content });
}
const step = (ids: TurnIds, number = 1, rest: Partial<StepRequest> = {}): StepRequest => ({
  ...ids,
  step: number,
  ...rest,
});

async function factsOf<T extends SessionEvent["type"]>(database: Database, sessionId: SessionId, type: T) {
  const log = await logOf(database, sessionId);
  return log.filter((event): event is Extract<SessionEvent, { type: T }> => event.type === type);
}

describe("a backend's state", () => {
  test("is committed with its step and given to the next one", async () => {
    const { backend, inputs } = watched();
    await using world = await anActivityWorld({ agent: AGENT, backends: [backend] });
    const ids = await aTurn(world, script({ tools: [{ name: "nope" }] }, { text: "done" }));

    expect(await runStep(world, step(ids))).toMatchObject({ next: "calls", calls: [] });
    expect(await runStep(world, step(ids, 2))).toMatchObject({ next: "done" });

    expect(inputs[0]?.state).toBeUndefined();
    expect(inputs[1]?.state?.text).toMatch(/^user \d+\n$/);
    expect(inputs[1]?.state?.meta).toEqual({ messages: 1 });
    const { text = "" } = (await world.store.states.read(world.sessionId, "scripted")) ?? {};
    expect(
      text
        .split("\n")
        .slice(0, -1)
        .map((line) => line.split(" ")[0]),
    ).toEqual(["user", "assistant", "tool"]);
  });

  test("of an attempt that failed is not kept, and of a repeated step it is kept once", async () => {
    const { backend, inputs } = watched((call) => {
      if (call === 1) throw refused();
    });
    await using world = await anActivityWorld({ agent: AGENT, backends: [backend] });
    const ids = await aTurn(world, script({ text: "done" }));

    await expect(runStep(world, step(ids))).rejects.toMatchObject({ type: "PROVIDER_ERROR" });
    expect(await world.store.states.read(world.sessionId, "scripted")).toBeUndefined();
    await runStep(world, step(ids));
    await runStep(world, step(ids));

    expect(inputs).toHaveLength(2);
    expect((await world.store.states.read(world.sessionId, "scripted"))?.text).toMatch(/^user \d+\n$/);
  });
});

describe("a backend that was lost", () => {
  test("is tried again at once, and is none of the model's attempts", async () => {
    const { backend } = watched((call) => {
      if (call <= 5) throw lost();
      if (call === 6) throw refused();
    });
    await using world = await anActivityWorld({
      agent: { ...AGENT, limits: { modelAttempts: 2 } },
      backends: [backend],
    });
    const ids = await aTurn(world, script({ text: "done" }));

    for (let attempt = 1; attempt <= 5; attempt++) {
      const failure = await runStep(world, step(ids)).catch((error: unknown) => error);
      expect(failure).toMatchObject({ type: "BackendLost", message: "the runtime is gone", nonRetryable: false });
      expect((failure as { nextRetryDelay: number }).nextRetryDelay).toBeLessThanOrEqual(100);
    }
    await expect(runStep(world, step(ids))).rejects.toMatchObject({ type: "PROVIDER_ERROR" });
    expect(await runStep(world, step(ids))).toMatchObject({ next: "done" });

    expect(await factsOf(world.database, world.sessionId, "error")).toHaveLength(1);
    expect(await factsOf(world.database, world.sessionId, "step.restarted")).toHaveLength(6);
  });

  test("a hundred times fails its turn in words: it is the step itself that kills it", async () => {
    const { backend, inputs } = watched();
    await using world = await anActivityWorld({ agent: AGENT, backends: [backend] });
    const ids = await aTurn(world, script({ text: "done" }));
    await runStep(world, step(ids), cancelled()).catch(() => undefined);
    await world.database.write((tx) => tx.updateTable("steps").set({ epoch: 100 }).execute());

    const answer = await runStep(world, step(ids));

    expect(answer).toMatchObject({ next: "failed", failure: { retryable: false } });
    expect(JSON.stringify(answer)).toContain("lost 100 times");
    expect(inputs.length).toBeLessThanOrEqual(1);
  });
});

/** An attempt that is told to stop before it begins. */
function cancelled(): ReturnType<typeof anAttempt> {
  const attempt = anAttempt();
  attempt.cancel("CANCELLED", new ActivityCancellationDetails({ cancelRequested: true }));
  return attempt;
}

test("the model's own failures are counted, told with their pause, and end the turn when there are too many", async () => {
  const { backend, inputs } = watched(() => {
    throw refused();
  });
  await using world = await anActivityWorld({ agent: { ...AGENT, limits: { modelAttempts: 3 } }, backends: [backend] });
  const ids = await aTurn(world, script({ text: "done" }));

  for (let attempt = 1; attempt <= 2; attempt++) {
    await expect(runStep(world, step(ids))).rejects.toMatchObject({ type: "PROVIDER_ERROR" });
  }
  const answer = await runStep(world, step(ids));

  expect(answer).toMatchObject({ next: "failed", failure: { code: "PROVIDER_ERROR", message: "over capacity" } });
  expect(await runStep(world, step(ids))).toEqual(answer);
  expect(inputs).toHaveLength(3);
  const errors = await factsOf(world.database, world.sessionId, "error");
  for (const { retryInMs } of errors) expect(retryInMs).toBeGreaterThan(0);
  expect(errors).toHaveLength(2);
});

describe("a worker that cannot run a session's steps", () => {
  test("because it has not loaded a tool of the agent's says which, and how to load it", async () => {
    const { backend, inputs } = watched();
    const agent: AgentInput = { ...AGENT, tools: ["bash", "weather", "tides"] };
    await using world = await anActivityWorld({ agent, backends: [backend] });

    const request = step(await aTurn(world, "hi"));
    await expect(runStep(world, request)).rejects.toMatchObject({ type: "NoWorker" });
    await waitedInVain(world);
    const answer = await runStep(world, request);

    expect(answer).toMatchObject({ next: "failed", failure: { code: "DEPENDENCY_MISSING", retryable: false } });
    const words =
      "no worker has had the agent's tools weather, tides for 300 s; start one with --tools or PERDURE_TOOLS";
    expect(JSON.stringify(answer)).toContain(words);
    expect(inputs).toEqual([]);
  });

  test("because it has no such backend says which it has", async () => {
    const { backend } = watched();
    await using world = await anActivityWorld({ agent: { backend: "other" }, backends: [backend] });

    const request = step(await aTurn(world, "hi"));
    await expect(runStep(world, request)).rejects.toMatchObject({ type: "NoWorker" });
    await waitedInVain(world);
    const answer = await runStep(world, request);

    expect(answer).toMatchObject({ next: "failed", failure: { code: "BACKEND_NOT_INSTALLED" } });
    expect(JSON.stringify(answer)).toContain('had the backend \\"other\\" for 300 s; this one has scripted');
  });

  test("because its store fails just then leaves the step to be tried again, and blames no model", async () => {
    const { backend } = watched();
    await using world = await anActivityWorld({ agent: AGENT, backends: [backend] });
    const ids = await aTurn(world, script({ text: "done" }));
    const transcripts = { read: () => Promise.reject(new StoreError("locked", "the store is locked")) };
    const broken = { ...world, deps: { ...world.deps, store: { ...world.store, transcripts: transcripts as never } } };

    await expect(runStep(broken, step(ids))).rejects.toMatchObject({ type: "Store.locked" });

    expect(await factsOf(world.database, world.sessionId, "error")).toEqual([]);
    expect(await runStep(world, step(ids))).toMatchObject({ next: "done" });
  });
});

describe("the answer tells of a configuration that is news", () => {
  const configure = (world: ActivityWorld, name: string) =>
    configureSession(world.database, world.sessionId, {
      configuration: { overrides: { limits: { stepsPerTurn: 7 } }, clientTools: [ClientTool.parse({ name })] },
      backends: {},
    });

  test("also when the step was committed before and only its answer was lost", async () => {
    await using world = await anActivityWorld({ agent: { ...AGENT, name: "me" }, backends: [watched().backend] });
    await configure(world, "deploy");
    const ids = await aTurn(world, script({ text: "done" }));
    const configured = { configuration: 1, agent: { name: "me", limits: { stepsPerTurn: 7 }, hasTools: true } };

    const first = await runStep(world, step(ids));

    expect(first).toMatchObject({ next: "done", configured });
    expect(await runStep(world, step(ids, 1, { configuration: 0 }))).toEqual(first);
    expect(await runStep(world, step(ids, 1, { configuration: 1 }))).not.toHaveProperty("configured");
  });

  test("but not of one that waits for the end of the turn, until that has come", async () => {
    await using world = await anActivityWorld({ agent: AGENT, backends: [watched().backend] });
    const ids = await aTurn(world, script({ tools: [{ name: "nope" }] }, { text: "done" }));
    expect(await runStep(world, step(ids))).not.toHaveProperty("configured");
    await configure(world, "deploy");

    expect(await runStep(world, step(ids, 2))).not.toHaveProperty("configured");
    await endTurn(world.database, { ...ids, outcome: "completed" });

    const next = await aTurn(world, script({ text: "next" }));
    expect(await runStep(world, step(next))).toMatchObject({ configured: { configuration: 1 } });
  });
});

test("a turn whose message was taken back is skipped, and leaves nothing", async () => {
  const { backend, inputs } = watched();
  await using world = await anActivityWorld({ agent: AGENT, backends: [backend] });
  const ids = await aTurn(world, script({ text: "done" }));
  await removeMessage(world.database, world.sessionId, ids.messageId);

  expect(await runStep(world, step(ids))).toEqual({ next: "skipped", usage: NO_USAGE });
  expect(await runStep(world, step(ids))).toEqual({ next: "skipped", usage: NO_USAGE });

  expect(inputs).toEqual([]);
  expect((await typesOf(world.database, world.sessionId)).at(-1)).toBe("message.removed");
});

test("a message that steers joins once, over any number of attempts, and the model is shown it", async () => {
  const { backend, inputs } = watched((call) => {
    if (call === 2) throw lost();
    if (call === 3) throw refused();
  });
  await using world = await anActivityWorld({ agent: AGENT, backends: [backend] });
  const ids = await aTurn(world, script({ tools: [{ name: "nope" }] }, { text: "done" }));
  await runStep(world, step(ids));
  const { messageId } = await aMessage(world.database, world.sessionId, { content: "and be brief", mode: "steer" });
  const request = step(ids, 2, { steer: [messageId] });

  for (let attempt = 1; attempt <= 2; attempt++) await runStep(world, request).catch(() => undefined);
  expect(await runStep(world, request)).toMatchObject({ next: "done" });
  expect(await runStep(world, request)).toMatchObject({ next: "done" });

  expect(await factsOf(world.database, world.sessionId, "message.steered")).toMatchObject([{ messageId, step: 2 }]);
  const shown = inputs.at(-1)?.transcript.map(({ role }) => role);
  expect(shown).toEqual(["user", "assistant", "tool", "user"]);
});

test("what had come of a reply that is stopped is in the log, to the last piece, and no failure is told", async () => {
  const attempt = anAttempt();
  const backend: SteppedBackend = {
    ...watched().backend,
    async step(_input, sink) {
      sink.blockStarted(0, { type: "text" });
      sink.blockDelta(0, "the first half");
      // Before anything of it is due to be published.
      attempt.cancel("CANCELLED", new ActivityCancellationDetails({ cancelRequested: true }));
      throw new BackendError("ABORTED", "the model call was stopped");
    },
  };
  await using world = await anActivityWorld({ agent: AGENT, backends: [backend] });
  const ids = await aTurn(world, "hi");

  await expect(runStep(world, step(ids), attempt)).rejects.toMatchObject({ name: "CancelledFailure" });
  await endTurn(world.database, { ...ids, outcome: "interrupted", reason: "interrupted" });

  const deltas = await factsOf(world.database, world.sessionId, "block.delta");
  expect(deltas.map(({ text }) => text).join("")).toBe("the first half");
  expect(await factsOf(world.database, world.sessionId, "error")).toEqual([]);
  const [, reply] = await messagesAfter(world.database, world.sessionId, { after: 0 });
  const blocks = [{ type: "text", text: "the first half" }];
  expect(reply?.message).toEqual({ role: "assistant", blocks, interrupted: true });
});
