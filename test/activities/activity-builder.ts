/** A worker's activities over a store and sandboxes of their own, each attempt in Temporal's mock environment: no server. */
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import path from "node:path";
import type { Info } from "@temporalio/activity";
import { MockActivityEnvironment } from "@temporalio/testing";
import { DefaultLogger } from "@temporalio/worker";
import { z } from "zod";
import { createRunStep, type RunStepDeps } from "../../activities/run-step.ts";
import { createRunTool } from "../../activities/run-tool.ts";
import { WorksHere } from "../../activities/works-here.ts";
import type { SteppedBackend } from "../../backends/backend.ts";
import type { AgentInput } from "../../contract/agents.ts";
import type { CallId, SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { CallResult, StepAnswer, StepRequest } from "../../contract/steps.ts";
import type { OwnWorkflow } from "../../contract/workflow-ids.ts";
import type { Database } from "../../store/database.ts";
import { findPlace } from "../../store/session-places.ts";
import type { Store } from "../../store/store.ts";
import { createToolbox } from "../../tools/registry.ts";
import type { Tool, ToolContext, ToolResult } from "../../tools/tool.ts";
import { aSession, type TemporaryStore, temporaryStore } from "../store/store-builder.ts";
import { localSandboxes } from "../support/local-sandboxes.ts";

export interface ActivityWorld extends AsyncDisposable {
  readonly store: TemporaryStore;
  readonly database: Database;
  readonly deps: RunStepDeps;
  readonly sessionId: SessionId;
}

export async function anActivityWorld(
  of: {
    readonly agent?: AgentInput;
    readonly tools?: readonly Tool[];
    readonly backends?: readonly SteppedBackend[];
  } = {},
): Promise<ActivityWorld> {
  const store = await temporaryStore();
  const root = path.join(store.folder, "sandboxes");
  const deps: RunStepDeps = {
    store,
    sandboxes: localSandboxes(root),
    host: "here",
    identity: { host: "here", process: "this" },
    works: new WorksHere(),
    tools: createToolbox(of.tools ?? []),
    backends: new Map((of.backends ?? []).map((backend) => [backend.name, backend])),
  };
  return {
    store,
    database: store.database,
    deps,
    sessionId: await aSession(store.database, { agent: of.agent ?? {} }),
    async [Symbol.asyncDispose]() {
      rmSync(root, { recursive: true, force: true });
      await store[Symbol.asyncDispose]();
    },
  };
}

/** What an activity is given that only this stack may ask for, by the workflow of that kind. */
export async function asked(
  world: Pick<ActivityWorld, "sessionId"> & { readonly store: Store },
  kind: OwnWorkflow,
): Promise<{ readonly sessionId: SessionId; readonly ticket: string }> {
  const { sessionId, store } = world;
  const place = await findPlace(store.database, sessionId);
  if (!place) throw new Error(`there is no session ${sessionId}`);
  return { sessionId, ticket: store.tickets.of(kind, place) };
}

/** One attempt of an activity. Each has a task token of its own, as Temporal gives it; without a number it is the first. */
export function anAttempt(of: Partial<Info> = {}): MockActivityEnvironment {
  const logger = new DefaultLogger("ERROR", () => undefined); // Failed attempts are what these tests are about.
  return new MockActivityEnvironment({ base64TaskToken: randomUUID(), ...of }, { logger });
}

/** The attempt of one activity that Temporal has sent as so-manieth. */
export function attemptNumber(number: number): MockActivityEnvironment {
  return anAttempt({ attempt: number, currentAttemptScheduledTimestampMs: number * 1_000 });
}

export function runTool(world: ActivityWorld, callId: CallId, attempt = anAttempt()): Promise<CallResult> {
  return attempt.run(createRunTool(world.deps), { sessionId: world.sessionId, callId });
}

export function runStep(world: ActivityWorld, request: StepRequest, attempt = anAttempt()): Promise<StepAnswer> {
  return attempt.run(createRunStep(world.deps), request);
}

/** A tool that does what the test says, with a text as its argument. */
export function aTool(
  run: (context: ToolContext, args: { readonly text: string }) => Promise<string> | string,
  fields: Partial<Tool> = {},
): Tool {
  const parameters = z.strictObject({ text: z.string() });
  return {
    name: "work",
    description: "Works.",
    parameters,
    replay: "ask",
    quick: false,
    changesFiles: false,
    changesWorld: true,
    summary: () => "work",
    run: async (args, context): Promise<ToolResult> => ({
      outcome: "ok",
      text: await run(context, parameters.parse(args)),
    }),
    ...fields,
  };
}

/** As if what waits for a worker had waited for as long as it may. */
export async function waitedInVain({ database }: ActivityWorld): Promise<void> {
  const since = Date.now() - LIMITS.workerWaitMs;
  await database.write((tx) => tx.updateTable("work_waits").set({ since }).execute());
}
