/** A Temporal server and today's workflow code, with activities that a test scripts: for what only the order of things shows. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { Context } from "@temporalio/activity";
import { Client, Connection, type WorkflowHandle } from "@temporalio/client";
import { DefaultLogger, NativeConnection, Runtime, Worker } from "@temporalio/worker";
import type { Activities } from "../../activities/index.ts";
import { waitServing } from "../../cli/grpc-health.ts";
import { freePort } from "../../cli/ports.ts";
import { findTemporal } from "../../cli/temporal-server.ts";
import type { CallId, MessageId, TurnId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Progress, SubmitMessage } from "../../contract/session.ts";
import type { StepAnswer, StepRequest, TurnEnding } from "../../contract/steps.ts";
import { oldHostQueue } from "../../contract/task-queue.ts";
import { workflowBundle } from "../../workers/bundle.ts";
import { getProgress, interruptTurn, type SessionInput, submitMessage } from "../../workflows/messages.ts";

const ATTRIBUTES = ["PerdureStatus", "PerdureAgent", "PerdureWaitingFor"];
const QUICK = ['history.timerProcessorMaxTimeShift="20ms"', "history.transferProcessorMaxPollRPS=10000"];

export const NO_USAGE = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 };
export const DONE: StepAnswer = { next: "done", usage: NO_USAGE };
export const AGAIN: StepAnswer = { next: "calls", calls: [], usage: NO_USAGE, ranTools: true, artifacts: false };

/** A step that makes these calls, each of which asks a person first. */
export function asking(...calls: readonly { readonly callId: CallId; readonly deadline: number }[]): StepAnswer {
  const planned = calls.map(({ callId, deadline }) => {
    return { callId, name: "bash", summary: "bash", wait: { kind: "approval" as const, deadline } };
  });
  return { ...AGAIN, next: "calls", calls: planned, usage: NO_USAGE, ranTools: false, artifacts: false };
}

/** What is held back until the test lets it go. */
export class Gate {
  readonly opened: Promise<void>;
  #open: () => void = () => undefined;

  constructor() {
    this.opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#open();
  }
}

export class WorkflowWorld implements AsyncDisposable {
  readonly client: Client;
  readonly #server: ChildProcess;
  readonly #connection: Connection;
  readonly #native: NativeConnection;

  private constructor(server: ChildProcess, connection: Connection, native: NativeConnection) {
    this.#server = server;
    this.#connection = connection;
    this.#native = native;
    this.client = new Client({ connection });
  }

  static async start(): Promise<WorkflowWorld> {
    Runtime.install({ logger: new DefaultLogger("ERROR") });
    const port = await freePort("127.0.0.1");
    const address = `127.0.0.1:${port}`;
    const args = [
      "server",
      "start-dev",
      "--headless",
      "--ip",
      "127.0.0.1",
      "--port",
      String(port),
      "--log-level",
      "error",
    ];
    args.push(...ATTRIBUTES.flatMap((name) => ["--search-attribute", `${name}=Keyword`]));
    args.push(...QUICK.flatMap((setting) => ["--dynamic-config-value", setting]));
    await workflowBundle(); // Once, before sessions that begin together would each make it.
    const server = spawn(await findTemporal(() => undefined), args, { stdio: "ignore" });
    if (!(await waitServing(address, AbortSignal.timeout(60_000)))) {
      server.kill("SIGKILL");
      throw new Error("Temporal did not come up");
    }
    return new WorkflowWorld(
      server,
      await Connection.connect({ address }),
      await NativeConnection.connect({ address }),
    );
  }

  /** A session whose worker does what is scripted. Left out, an activity succeeds at once. */
  async session(script: Partial<Activities>, input: Partial<SessionInput> = {}): Promise<SessionRun> {
    const run = new SessionRun(script);
    const sessionId = randomUUID();
    const taskQueue = oldHostQueue(sessionId); // Such a queue stays whole: one worker is enough for every kind of work.
    const worker = await Worker.create({
      connection: this.#native,
      taskQueue,
      workflowBundle: { codePath: await workflowBundle() },
      activities: run.activities,
      stickyQueueScheduleToStartTimeout: 500,
      maxHeartbeatThrottleInterval: 100,
    });
    const limits = { stepsPerTurn: 100_000, turnTimeoutMs: 3_600_000, tokensPerTurn: 1e12, toolsInParallel: 8 };
    const agent = { name: "test", limits, hasTools: true, sandboxIdleMs: 3_600_000 };
    const args = [{ sessionId, agent, keepsWorkspace: true, continuesAnywhere: true, ...input }];
    await this.client.workflow.start("session", { workflowId: sessionId, taskQueue, args, workflowTaskTimeout: 5_000 });
    run.begin({ worker, handle: this.client.workflow.getHandle(sessionId) });
    return run;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#native.close();
    await this.#connection.close();
    const ended = new Promise((resolve) => this.#server.once("exit", resolve));
    this.#server.kill("SIGKILL");
    await ended;
  }
}

/** One session's workflow, and what it has asked of its activities. */
export class SessionRun implements AsyncDisposable {
  readonly steps: StepRequest[] = [];
  readonly ends: TurnEnding[] = [];
  readonly activities: Partial<Activities>;
  handle: WorkflowHandle = undefined as never;
  #worker: Worker | undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(script: Partial<Activities>) {
    const remote: Partial<Activities> = {
      ensureSandbox: async () => undefined,
      stopCalls: async () => undefined,
      uploadArtifacts: async () => ({ uploaded: 0, failed: 0 }),
      snapshotWorkspace: async () => undefined,
      stopIdleSandbox: async () => ({ againInMs: 0 }),
      closeSession: async () => undefined,
      runTool: async () => ({ outcome: "ok", artifacts: false }),
      ...script,
      runStep: async (request) => {
        this.steps.push(request);
        return (await script.runStep?.(request)) ?? DONE;
      },
    };
    const beating = Object.entries(remote).map(([name, work]) => [name, heartbeating(work)]);
    this.activities = {
      ...Object.fromEntries(beating),
      expireWait: script.expireWait ?? (async () => ({ next: "over" })),
      endTurn: async (ending) => {
        this.ends.push(ending);
        return { requeued: [] };
      },
    };
  }

  begin(of: { readonly worker: Worker; readonly handle: WorkflowHandle }): void {
    this.#worker = of.worker;
    this.handle = of.handle;
    this.#done = of.worker.run();
  }

  submit(id: string, mode: SubmitMessage["mode"] = "queue"): Promise<unknown> {
    const message: SubmitMessage = { messageId: id as MessageId, turnId: `turn_${id}` as TurnId, mode };
    return this.handle.executeUpdate(submitMessage, { args: [message] });
  }

  async interrupt(): Promise<void> {
    await this.handle.signal(interruptTurn, {});
  }

  /** Makes the history of its run so long that the next good moment begins another, by signals that change nothing. */
  async grow(): Promise<void> {
    const pad = "x".repeat(LIMITS.historyBytes / 2);
    for (let n = 0; n < 3; n++) await this.handle.signal("interruptTurn", { turnId: "turn_nobody", pad });
    for (let n = 0; n < 20; n++) {
      await this.handle.signal(interruptTurn, { turnId: "turn_nobody" as TurnId });
      await this.progress(); // Each in a workflow task of its own.
    }
  }

  async progress(): Promise<Progress> {
    return await this.handle.query(getProgress);
  }

  async history(): Promise<{ readonly runId: string; readonly length: number }> {
    const { runId, historyLength } = await this.handle.describe();
    return { runId, length: historyLength };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.terminate("the test is over").catch(() => undefined);
    this.#worker?.shutdown();
    await this.#done;
  }
}

/** An activity whose worker lives, and which ends when it is cancelled. */
function heartbeating(work: (key: never) => Promise<unknown>): (key: never) => Promise<unknown> {
  return async (key) => {
    const context = Context.current();
    const beat = setInterval(() => context.heartbeat(), 100);
    try {
      return await Promise.race([work(key), context.cancelled]);
    } finally {
      clearInterval(beat);
    }
  };
}
