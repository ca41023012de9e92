/**
 * The stack: Temporal, one worker and one API, each a process of its own, kept alive together and stopped together.
 * Used by `perdure dev`, the demo and the tests' world.
 */
import path from "node:path";
import type { Config } from "../contract/config.ts";
import { LIMITS } from "../contract/limits.ts";
import { finishRestore } from "./backup/restore-placement.ts";
import { isServing, waitServing } from "./grpc-health.ts";
import { boundLog } from "./log-file.ts";
import { programArguments } from "./package-root.ts";
import { freePort, isPortFree } from "./ports.ts";
import { signalKnown, waitGone } from "./process-identity.ts";
import { apiVariables, workerVariables } from "./process-variables.ts";
import type { Command } from "./spawned-process.ts";
import { StackError } from "./stack-error.ts";
import { type ProcessEntry, type ProcessName, StateDirectory } from "./state-directory.ts";
import { type ProcessEvent, type ProcessPlan, SupervisedProcess } from "./supervised-process.ts";
import { httpApiFault } from "./temporal-http.ts";
import {
  confirmDatabase,
  findTemporal,
  hiddenHost,
  settleDatabase,
  TEMPORAL_HOST,
  TEMPORAL_PORTS,
  temporalCommand,
  temporalEnv,
  waitOwnTemporal,
} from "./temporal-server.ts";
import { startUiProxy, type UiPlace, type UiProxy } from "./ui-proxy.ts";

export type StackEvent =
  | ProcessEvent
  | { readonly type: "progress"; readonly text: string }
  | { readonly type: "took_over"; readonly pids: readonly number[] }
  /** Something about the state that a person should know. */
  | { readonly type: "notice"; readonly message: string }
  | { readonly type: "gave_up"; readonly message: string };

/** How the stack ended: as it was asked to, or because a process could not be kept alive. */
export type StackEnd = { readonly ended: "stopped" } | { readonly ended: "gave_up"; readonly message: string };

export interface StackOptions {
  readonly config: Config;
  /** Handed on to worker and api, with what the stack decided added. */
  readonly env: NodeJS.ProcessEnv;
  readonly onEvent?: (event: StackEvent) => void;
  /** Node's arguments for each program, where they are not ours. */
  readonly programs?: { readonly worker: readonly string[]; readonly api: readonly string[] };
  /** `any`: free ports for Temporal that nobody expects, so that no other stack on this machine takes them while ours is down. */
  readonly temporalPorts?: "expected" | "any";
  /** Temporal's UI, behind a check of who asks. Only of the embedded server. */
  readonly ui?: boolean;
  /** Stops the stack, also while it starts: `startStack` then rejects with StackError `stopped`. */
  readonly signal?: AbortSignal;
}

export interface Stack {
  readonly apiUrl: string;
  readonly temporalAddress: string;
  /** Undefined when nobody asked for the UI, or the Temporal server is not ours. */
  readonly uiUrl: string | undefined;
  /** Where commands run by default, when a person should know of it; undefined: they are isolated. */
  readonly sandbox: string | undefined;
  /** The living processes, as in `processes.json`. */
  processes(): readonly ProcessEntry[];
  /** Drains and stops everything within 10 s. Calling it again waits for the same end. */
  stop(): Promise<void>;
  /** Ends everything without asking; a `stop` under way ends with it. */
  kill(): void;
  readonly exited: Promise<StackEnd>;
}

/**
 * Starts the stack and resolves when all of it is ready.
 * @throws StackError; whatever had been started is stopped by then.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { signal } = options;
  if (signal?.aborted) throw new StackError("stopped", "stopped before it was started");
  const stack = new RunningStack(options);
  signal?.addEventListener("abort", () => void stack.stop(), { once: true });
  try {
    // A stop must not wait for a download that the start waits for.
    await Promise.race([stack.start(), stack.exited.then(refuseStopped)]);
    return stack;
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

function refuseStopped(end: StackEnd): never {
  if (end.ended === "gave_up") throw new StackError("gave_up", end.message);
  throw new StackError("stopped", "stopped while starting");
}

class RunningStack implements Stack {
  readonly exited: Promise<StackEnd>;
  readonly #resolveExited: (end: StackEnd) => void;
  readonly #options: StackOptions;
  readonly #state: StateDirectory;
  readonly #processes = new Map<ProcessName, SupervisedProcess>();
  readonly #logTimer: NodeJS.Timeout;
  readonly #stopSignal = new AbortController();
  #apiPort = 0;
  #temporalAddress: string;
  #uiPlace: UiPlace | undefined;
  #uiProxy: UiProxy | undefined;
  #end: StackEnd = { ended: "stopped" };
  #stopped: Promise<void> | undefined;

  constructor(options: StackOptions) {
    this.#options = options;
    this.#state = StateDirectory.claim(path.resolve(options.config.stateDir));
    this.#temporalAddress = options.config.temporalAddress ?? "";
    const { promise, resolve } = Promise.withResolvers<StackEnd>();
    this.exited = promise;
    this.#resolveExited = resolve;
    this.#logTimer = setInterval(() => this.#boundLogs(), LIMITS.logCheckEveryMs).unref();
  }

  get apiUrl(): string {
    const { host } = this.#options.config;
    return `http://${host.includes(":") ? `[${host}]` : host}:${this.#apiPort}`;
  }

  get temporalAddress(): string {
    return this.#temporalAddress;
  }

  get uiUrl(): string | undefined {
    return this.#uiProxy?.url;
  }

  get sandbox(): string | undefined {
    return this.#processes.get("worker")?.sandbox;
  }

  processes(): readonly ProcessEntry[] {
    return [...this.#processes.values()].flatMap(({ entry }) => entry ?? []);
  }

  async start(): Promise<void> {
    await this.#takeOver();
    const aside = finishRestore(this.#state.path);
    if (aside !== undefined)
      this.#emit({
        type: "notice",
        message: `an interrupted restore was completed; what was there before is in ${aside}`,
      });
    await this.#chooseApiPort();
    if (this.#options.config.temporalAddress === undefined) {
      await this.#startTemporal();
      await this.#startUi();
    } else await this.#awaitForeignTemporal(this.#options.config.temporalAddress);
    const { worker = programArguments("workers/main"), api = programArguments("api/main") } =
      this.#options.programs ?? {};
    const ready = [this.#launch(this.#programPlan("worker", worker)), this.#launch(this.#programPlan("api", api))];
    await Promise.all(ready);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  kill(): void {
    void this.stop();
    for (const supervised of this.#processes.values()) supervised.kill();
  }

  async #stopAll(): Promise<void> {
    this.#stopSignal.abort();
    clearInterval(this.#logTimer);
    this.#uiProxy?.close();
    // Worker and api drain together, and need Temporal while they do.
    const drained = ["worker", "api"] as const;
    await Promise.all(drained.map((name) => this.#processes.get(name)?.stop(LIMITS.drainMs)));
    await this.#processes.get("temporal")?.stop(LIMITS.temporalStopMs);
    try {
      this.#state.release();
    } finally {
      this.#resolveExited(this.#end);
    }
  }

  /** Stops what a killed supervisor left behind on this directory. */
  async #takeOver(): Promise<void> {
    const { orphans } = this.#state;
    if (orphans.length === 0) return;
    for (const orphan of orphans) signalKnown(orphan, "SIGTERM");
    for (const orphan of await waitGone(orphans, LIMITS.orphanStopMs)) signalKnown(orphan, "SIGKILL");
    const [survivor] = await waitGone(orphans, LIMITS.killWaitMs);
    if (survivor)
      throw new StackError("state", `process ${survivor.pid} of the last start cannot be stopped; stop it by hand`);
    this.#emit({ type: "took_over", pids: orphans.map(({ pid }) => pid) });
  }

  async #chooseApiPort(): Promise<void> {
    const { port, host } = this.#options.config;
    const taken = port === 0 ? undefined : await this.#apiPortTaken(port);
    if (taken !== undefined) throw new StackError("port_taken", taken);
    this.#apiPort = port === 0 ? await freePort(host) : port;
  }

  async #apiPortTaken(port: number): Promise<string | undefined> {
    const { host } = this.#options.config;
    if (await isPortFree(host, port)) return undefined;
    return `port ${port} on ${host} is taken by another program, or not allowed: stop that one, or set PERDURE_PORT (0 for any free port)`;
  }

  async #awaitForeignTemporal(address: string): Promise<void> {
    this.#emit({ type: "progress", text: `waiting for Temporal at ${address}` });
    if (await waitServing(address, this.#stopSignal.signal)) return;
    if (this.#stopSignal.signal.aborted) throw new StackError("stopped", "stopped while waiting for Temporal");
    throw new StackError(
      "no_temporal",
      `no Temporal server answers at ${address} (waited ${LIMITS.startTimeoutMs / 1_000} s): start it, ` +
        "or unset TEMPORAL_ADDRESS to use the embedded one",
    );
  }

  async #startTemporal(): Promise<void> {
    const binary = await findTemporal((text) => this.#emit({ type: "progress", text }));
    const { databaseFile } = this.#state;
    const { temporalNamespace: namespace, synchronous } = this.#options.config;
    const { temporalPorts: which = "expected", ui: hasUi = false } = this.#options;
    const choose = (): Promise<TemporalPorts> => temporalPorts(which, hasUi);
    let ports = await choose();
    let wasReady = false;
    await this.#launch({
      name: "temporal",
      logFile: this.#state.logFile("temporal"),
      command: () => {
        const settled = settleDatabase(databaseFile);
        if (settled) this.#emit({ type: "notice", message: settled.message });
        this.#temporalAddress = `${TEMPORAL_HOST}:${ports.port}`;
        this.#uiPlace = ports.ui;
        const command = temporalCommand({ binary, databaseFile, namespace, synchronous, ...ports });
        return { ...command, env: temporalEnv(this.#options.env), channel: "guard" };
      },
      untilReady: async (signal) => {
        if (!(await waitOwnTemporal(this.temporalAddress, signal))) return false;
        const fault = await httpApiFault(TEMPORAL_HOST, ports.httpPort);
        if (fault !== undefined) {
          this.#giveUp(fault);
          return false;
        }
        confirmDatabase(databaseFile);
        wasReady = true;
        return true;
      },
      obstacle: async () => {
        // Until somebody knows the ports they may change; afterwards worker, api and people rely on them.
        if (!wasReady) ports = await choose();
        else if (!(await isPortFree(TEMPORAL_HOST, ports.port)))
          return `port ${ports.port} of Temporal was taken by another program while Temporal was down: stop that one and start again`;
        return undefined;
      },
    });
  }

  async #startUi(): Promise<void> {
    if (!this.#options.ui) return;
    const expected = this.#options.temporalPorts === "any" ? 0 : TEMPORAL_PORTS.ui;
    this.#uiProxy = await startUiProxy(await freePort(TEMPORAL_HOST, expected), () => this.#theUi());
    if (this.#stopSignal.signal.aborted) this.#uiProxy.close();
  }

  #theUi(): UiPlace {
    if (!this.#uiPlace) throw new Error("there is a way to a UI that was never started");
    return this.#uiPlace;
  }

  #programPlan(name: "worker" | "api", args: readonly string[]): ProcessPlan {
    return {
      name,
      logFile: this.#state.logFile(name),
      // Without an API nothing is lost but a second; without a worker all sessions stand still.
      hasSpare: name === "worker" && this.#options.programs === undefined,
      command: () => ({ file: process.execPath, args, ...this.#programEnv(name), channel: "ipc" }) satisfies Command,
      isOutage: async () => !(await isServing(this.temporalAddress)),
      obstacle: async () => (name === "api" ? this.#apiPortTaken(this.#apiPort) : undefined),
    };
  }

  #programEnv(name: "worker" | "api"): Pick<Command, "env" | "handed"> {
    const { env, handed } = name === "worker" ? workerVariables(this.#options.env) : apiVariables(this.#options.env);
    const decided = {
      TEMPORAL_ADDRESS: this.temporalAddress,
      PERDURE_STATE_DIR: this.#state.path,
      PERDURE_PORT: String(this.#apiPort),
    };
    return { env: { NODE_COMPILE_CACHE: this.#state.compileCache, ...env, ...decided }, ...(handed && { handed }) };
  }

  #launch(plan: ProcessPlan): Promise<void> {
    if (this.#stopSignal.signal.aborted) return Promise.reject(new StackError("stopped", "stopped while starting"));
    const supervised = new SupervisedProcess(plan, {
      onEvent: (event) => this.#emit(event),
      onChange: () => this.#record(),
      onGiveUp: (error) => this.#giveUp(error.message),
    });
    this.#processes.set(plan.name, supervised);
    supervised.start();
    return supervised.firstReady;
  }

  /** A full disk must not end the supervisor: then it says so, and the processes go on. */
  #record(): void {
    try {
      const isOwn = this.#options.config.temporalAddress === undefined;
      const temporal = this.temporalAddress === "" ? null : { address: this.temporalAddress, isOwn };
      this.#state.record(this.processes(), { apiUrl: this.apiUrl, temporal });
    } catch (error) {
      this.#emit({
        type: "progress",
        text: `processes.json cannot be written: ${error instanceof Error ? error.message : String(error)}`,
      });
    }
  }

  #giveUp(message: string): void {
    this.#end = { ended: "gave_up", message };
    this.#emit({ type: "gave_up", message });
    void this.stop();
  }

  #boundLogs(): void {
    for (const name of this.#processes.keys()) boundLog(this.#state.logFile(name));
  }

  #emit(event: StackEvent): void {
    this.#options.onEvent?.(event);
  }
}

interface TemporalPorts {
  readonly port: number;
  readonly httpPort: number;
  readonly ui: UiPlace | undefined;
}

async function temporalPorts(which: "expected" | "any", hasUi: boolean): Promise<TemporalPorts> {
  const port = await freePort(TEMPORAL_HOST, which === "expected" ? TEMPORAL_PORTS.frontend : 0);
  const httpPort = await freePort(TEMPORAL_HOST);
  if (!hasUi) return { port, httpPort, ui: undefined };
  const host = hiddenHost();
  return { port, httpPort, ui: { host, port: await freePort(host) } };
}
