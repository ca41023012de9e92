/** A worker over given dependencies: workflows from the bundle, activities over the store, a sandbox provider and backends. */
import { NativeConnection, Runtime, Worker, type WorkerOptions } from "@temporalio/worker";
import type { Logger } from "pino";
import type { DownloadRules } from "../activities/download-fetch.ts";
import { createActivities } from "../activities/index.ts";
import type { WorkerSecrets } from "../activities/secret-choice.ts";
import { WorksHere } from "../activities/works-here.ts";
import type { SteppedBackend } from "../backends/backend.ts";
import { LIMITS } from "../contract/limits.ts";
import {
  hostQueue,
  kindQueue,
  OLD_QUEUE,
  oldHostQueue,
  stackQueue,
  WORK_KINDS,
  type WorkKind,
  workerQueue,
} from "../contract/task-queue.ts";
import type { SandboxProviders } from "../sandbox/registry.ts";
import type { Store } from "../store/store.ts";
import type { Toolbox } from "../tools/registry.ts";
import { workflowBundle } from "./bundle.ts";
import { UnreachableError, untilTemporal, type Waiting } from "./until-temporal.ts";

export interface WorkerDeps {
  readonly store: Store;
  readonly sandboxes: SandboxProviders;
  readonly backends: ReadonlyMap<string, SteppedBackend>;
  readonly tools: Toolbox;
  readonly secrets: WorkerSecrets;
  readonly downloads: DownloadRules;
  readonly closedKeptMs: number | undefined;
  readonly host: string;
  /** By which it announces itself. */
  readonly id: string;
  /** Whether sessions of versions before 0.4 may still go on, on the queues of that time. */
  readonly servesOld: boolean;
  readonly process: string;
  readonly address: string;
  readonly namespace: string;
  readonly logger: Logger;
  readonly waiting: Waiting;
}

export interface RunningWorker {
  readonly connection: NativeConnection;
  /** Resolves when the worker has stopped; rejects when it failed. */
  readonly done: Promise<void>;
  /** Takes no new work, gives what runs a moment to end, then hands it back. */
  shutdown(): void;
}

/** Kinds of work that a turn waits for at each of its steps, and those that come in hundreds when a session ends. */
const QUICK: ReadonlySet<WorkKind> = new Set(["command", "upkeep"]);

/** Temporal's own words are a dump of its transport's. */
export function unreachable(address: string, cause: unknown): never {
  throw new UnreachableError(
    `no Temporal server can be reached at ${address}: start it, or say with TEMPORAL_ADDRESS where it is`,
    {
      cause,
    },
  );
}

/** Connects, as soon as the server can be reached, and starts polling. */
export async function startWorker(deps: WorkerDeps): Promise<RunningWorker> {
  installRuntime(deps.logger);
  const [connection, bundle] = await Promise.all([untilTemporal(() => connect(deps), deps.waiting), workflowBundle()]);
  const common: WorkerOptions = {
    connection,
    namespace: deps.namespace,
    taskQueue: stackQueue(deps.store.stack),
    identity: `perdure-worker ${process.pid}@${deps.host}`,
    activities: createActivities({
      store: deps.store,
      sandboxes: deps.sandboxes,
      backends: deps.backends,
      tools: deps.tools,
      secrets: deps.secrets,
      downloads: deps.downloads,
      closedKeptMs: deps.closedKeptMs,
      host: deps.host,
      worker: deps.id,
      identity: { host: deps.host, process: deps.process },
      works: new WorksHere(),
    }),
    // A cancel reaches an activity with the answer to a heartbeat, so this bounds how long stopping a turn takes.
    maxHeartbeatThrottleInterval: 400,
    maxConcurrentActivityTaskExecutions: LIMITS.slots.model,
    shutdownGraceTime: 1_500,
    shutdownForceTime: 6_000,
  };
  const whole: WorkerOptions = {
    ...common,
    workflowBundle: { codePath: bundle },
    maxConcurrentWorkflowTaskExecutions: 100,
    maxConcurrentLocalActivityExecutions: 100,
    // When a worker dies, what waits in its own queue goes to another after this long.
    stickyQueueScheduleToStartTimeout: 500,
    // About a megabyte each. One that is forgotten is replayed from a short history when it is needed again.
    maxCachedWorkflows: 500,
  };
  // What only this host can do: no workflow, just what touches the sandboxes that live here.
  const ofHost: WorkerOptions = { ...common, taskQueue: hostQueue(deps.store.stack, deps.host) };
  const ofOld: readonly WorkerOptions[] = deps.servesOld
    ? [
        { ...whole, taskQueue: OLD_QUEUE },
        { ...common, taskQueue: oldHostQueue(deps.host) },
      ]
    : [];
  // What this worker alone can do.
  const ofOne = { ...common, taskQueue: workerQueue(deps.store.stack, { host: deps.host, worker: deps.id }) };
  const ofKinds = [whole, ofHost, ofOne].flatMap(({ taskQueue }) => byKind(common, taskQueue));
  const workers = new Workers();
  try {
    // What answers people comes first: the workflows, and the steps of their turns.
    await workers.begin(whole);
    await Promise.all([ofHost, ofOne, ...ofKinds, ...ofOld].map((options) => workers.begin(options)));
  } catch (error) {
    workers.shutdown();
    await workers.ended().catch(() => undefined); // It says no more than the fault that led to it.
    await connection.close();
    throw error;
  }
  const done = workers.ended().finally(() => connection.close());
  return { connection, done, shutdown: () => workers.shutdown() };
}

/** The SDK's workers of this process, each for one queue. They work from when each of them is made, and end together. */
class Workers {
  readonly #workers: Worker[] = [];
  readonly #runs: Promise<void>[] = [];
  #isOver = false;

  async begin(options: WorkerOptions): Promise<void> {
    const worker = await Worker.create(options);
    this.#workers.push(worker);
    // When one of them fails the process is to end, so the others are not left to work on.
    const run = worker.run().finally(() => this.shutdown());
    run.catch(() => undefined); // Heard by `ended`, perhaps only later.
    this.#runs.push(run);
    if (this.#isOver) this.shutdown();
  }

  shutdown(): void {
    this.#isOver = true;
    for (const one of this.#workers) if (one.getState() === "RUNNING") one.shutdown();
  }

  /** Of all that have begun by now. Rejects when one of them failed. */
  async ended(): Promise<void> {
    await Promise.all(this.#runs);
  }
}

/** Workers for every kind of work behind a queue: what fills the slots of one leaves those of all others. */
function byKind(common: WorkerOptions, taskQueue: string): readonly WorkerOptions[] {
  return WORK_KINDS.filter((kind) => kindQueue(taskQueue, kind) !== taskQueue).map((kind) => ({
    ...common,
    taskQueue: kindQueue(taskQueue, kind),
    maxConcurrentActivityTaskExecutions: LIMITS.slots[kind],
    maxConcurrentActivityTaskPolls: QUICK.has(kind) ? LIMITS.polls.quick : LIMITS.polls.slow,
  }));
}

/** A server without the namespace would end the worker as soon as it polls. */
async function connect({ address, namespace }: WorkerDeps): Promise<NativeConnection> {
  const connection = await NativeConnection.connect({ address }).catch((error: unknown) => unreachable(address, error));
  try {
    await connection.workflowService.describeNamespace({ namespace });
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** What the SDK warns of for a worker that only runs activities, which ours for a host's sandboxes does on purpose. */
const NO_WORKFLOWS = "No workflows registered";

/** The SDK's own log goes to ours. Once per process: the runtime is a singleton of the SDK. */
function installRuntime(logger: Logger): void {
  const at =
    (level: "trace" | "debug" | "info" | "warn" | "error") =>
    (message: string, meta?: object): void =>
      logger[level](meta ?? {}, message);
  Runtime.install({
    logger: {
      trace: at("trace"),
      debug: at("debug"),
      info: at("debug"), // The SDK tells at info what is detail here.
      warn: (message, meta) => (message.startsWith(NO_WORKFLOWS) ? at("debug") : at("warn"))(message, meta),
      error: at("error"),
      log: (_level, message, meta) => logger.debug(meta ?? {}, message),
    },
    shutdownSignals: [],
  });
}
