/**
 * One process that is kept alive: started again at once when it dies, with a growing pause when it keeps dying, and
 * given up in words when that does not help.
 */
import type { ChildProcess } from "node:child_process";
import { EXIT_CONFIG } from "../contract/config.ts";
import { LIMITS } from "../contract/limits.ts";
import { logTail } from "./log-file.ts";
import { SpareProcess } from "./spare-process.ts";
import { type Command, dismissGuard, spawnProcess } from "./spawned-process.ts";
import { StackError } from "./stack-error.ts";
import type { ProcessEntry, ProcessName } from "./state-directory.ts";

/** Of what a process says that it waits for. */
const WAITS_CHARACTERS = 500;

export interface ProcessPlan {
  readonly name: ProcessName;
  readonly logFile: string;
  /** Called before each start. Synchronous, because a restart is on the way to a session's next event. */
  readonly command: () => Command;
  /** Whether a spare is kept, which begins when this one dies. */
  readonly hasSpare?: boolean;
  /** Waits until the process that was just started is ready; without it, readiness is its message `{type: "ready"}`. */
  readonly untilReady?: (signal: AbortSignal) => Promise<boolean>;
  /** Whether what it works with is away, so that its deaths are explained: they do not count to those after which it is given up. */
  readonly isOutage?: () => Promise<boolean>;
  /** Asked after a death before readiness: a reason why another start cannot help, or undefined to try again. */
  readonly obstacle: () => Promise<string | undefined>;
}

export type ProcessEvent =
  | { readonly type: "started"; readonly name: ProcessName; readonly pid: number }
  | { readonly type: "ready"; readonly name: ProcessName; readonly pid: number; readonly afterMs: number }
  | { readonly type: "died"; readonly name: ProcessName; readonly pid: number; readonly how: string }
  | {
      readonly type: "restarted";
      readonly name: ProcessName;
      readonly oldPid: number;
      readonly how: string;
      readonly pid: number;
      readonly afterMs: number;
    };

export interface ProcessHooks {
  readonly onEvent: (event: ProcessEvent) => void;
  /** The set of living processes has changed. Comes before the event that tells of it. */
  readonly onChange: () => void;
  readonly onGiveUp: (error: StackError) => void;
}

/** One life of the process: from a start to a death. */
interface Life {
  readonly child: ChildProcess;
  readonly startedAt: number;
  readonly ended: AbortController;
  state: "starting" | "waiting" | "ready";
  /** When that began. */
  since: number;
  /** While it waits: for what. */
  waitsFor: string | undefined;
  /** What it said when it cannot be used as it is set up. */
  unusable: string | undefined;
}

interface Death {
  readonly pid: number;
  readonly how: string;
  readonly at: number;
}

export class SupervisedProcess {
  /** Resolves at the first readiness; rejects when the process is given up or stopped before it. */
  readonly firstReady: Promise<void>;
  readonly #resolveReady: () => void;
  readonly #rejectReady: (error: StackError) => void;
  readonly #plan: ProcessPlan;
  readonly #hooks: ProcessHooks;
  #life: Life | undefined;
  #restarts = 0;
  #quickDeaths = 0;
  #deaths: readonly number[] = [];
  #restartTimer: NodeJS.Timeout | undefined;
  #stopping = false;
  #sandbox: string | undefined;
  readonly #spare: SpareProcess | undefined;

  constructor(plan: ProcessPlan, hooks: ProcessHooks) {
    this.#plan = plan;
    this.#hooks = hooks;
    this.#spare = plan.hasSpare ? new SpareProcess(plan.command, plan.logFile) : undefined;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.firstReady = promise;
    this.#resolveReady = resolve;
    this.#rejectReady = reject;
    promise.catch(() => undefined); // Whoever waits for it hears; nobody has to.
  }

  /** What a worker said of its sandboxes when it was ready last, where a person should know. */
  get sandbox(): string | undefined {
    return this.#sandbox;
  }

  /** What `processes.json` says of it; undefined while it is dead. */
  get entry(): ProcessEntry | undefined {
    const pid = this.#life?.child.pid;
    if (this.#life === undefined || pid === undefined) return undefined;
    const { startedAt, state, since, waitsFor } = this.#life;
    const { name } = this.#plan;
    return {
      name,
      pid,
      restarts: this.#restarts,
      startedAt,
      state,
      since,
      ...(waitsFor !== undefined && { waitsFor }),
    };
  }

  start(): void {
    this.#startLife();
    const pid = this.#life?.child.pid;
    if (pid !== undefined) this.#hooks.onEvent({ type: "started", name: this.#plan.name, pid });
  }

  /** Asks it to end and kills it after the grace. Resolves when it is gone; it is not started again. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    this.#rejectReady(new StackError("stopped", `${this.#plan.name} was stopped before it was ready`));
    const spareGone = this.#spare?.stop();
    const life = this.#life;
    if (!life) return await spareGone;
    const gone = new Promise<void>((resolve) => life.ended.signal.addEventListener("abort", () => resolve()));
    life.child.kill("SIGTERM");
    const timer = setTimeout(() => life.child.kill("SIGKILL"), graceMs);
    await gone.finally(() => clearTimeout(timer));
    await spareGone;
  }

  /** Ends it without asking; `stop` that is under way ends with it. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    void this.#spare?.stop();
    this.#life?.child.kill("SIGKILL");
  }

  #startLife(): void {
    const child = this.#spare?.take() ?? spawnProcess(this.#plan.command(), this.#plan.logFile);
    const life: Life = {
      child,
      startedAt: Date.now(),
      ended: new AbortController(),
      state: "starting",
      since: Date.now(),
      waitsFor: undefined,
      unusable: undefined,
    };
    this.#life = life;
    this.#watch(life);
    this.#hooks.onChange();
  }

  #watch(life: Life): void {
    const { child } = life;
    let why: string | undefined;
    let reason: string | undefined;
    const overdue = setTimeout(() => {
      why = `was not ready after ${LIMITS.startTimeoutMs / 1_000} s`;
      child.kill("SIGKILL");
    }, LIMITS.startTimeoutMs);
    const end = (how: string): void => {
      if (life.ended.signal.aborted) return;
      clearTimeout(overdue);
      life.ended.abort();
      this.#onDeath(life, why ?? how);
    };
    child.on("error", (error) => {
      if (child.pid === undefined) end(`could not be started: ${error.message}`);
    });
    child.once("exit", (code, signal) => {
      const died = (): void => end(signal === null ? `ended with code ${code}` : `died by ${signal}`);
      if (code !== EXIT_CONFIG || this.#plan.untilReady) return died();
      // Its words may still be on their way.
      const unusable = (): void => {
        life.unusable = reason ?? logTail(this.#plan.logFile);
        died();
      };
      if (child.connected) child.once("disconnect", unusable);
      else unusable();
    });
    const ready = (): void => {
      clearTimeout(overdue);
      this.#onReady(life);
    };
    if (this.#plan.untilReady) this.#plan.untilReady(life.ended.signal).then((is) => is && ready(), ignore);
    else {
      child.on("message", (message) => {
        if (isReady(message)) {
          this.#sandbox = sandboxOf(message);
          ready();
        }
        // It waits for another program, and says so itself; to end it would not help.
        if (isWaiting(message)) {
          clearTimeout(overdue);
          this.#onWaiting(life, message);
        }
        reason = reasonOf(message) ?? reason;
      });
    }
  }

  #onWaiting(life: Life, message: object): void {
    if (life !== this.#life || life.ended.signal.aborted) return;
    const isNew = life.state !== "waiting";
    const reason = "reason" in message && typeof message.reason === "string" ? message.reason : "something else";
    life.waitsFor = reason.slice(0, WAITS_CHARACTERS);
    life.state = "waiting";
    if (isNew) life.since = Date.now();
    this.#hooks.onChange();
  }

  #onReady(life: Life): void {
    if (life !== this.#life || life.state === "ready" || life.ended.signal.aborted) return;
    life.state = "ready";
    life.since = Date.now();
    life.waitsFor = undefined;
    this.#hooks.onChange();
    const { pid } = life.child;
    if (pid !== undefined) {
      const afterMs = Date.now() - life.startedAt;
      this.#hooks.onEvent({ type: "ready", name: this.#plan.name, pid, afterMs });
    }
    this.#spare?.prepare();
    this.#resolveReady();
  }

  #onDeath(life: Life, how: string): void {
    const death: Death = { pid: life.child.pid ?? 0, how, at: Date.now() };
    dismissGuard(life.child);
    this.#life = undefined;
    if (this.#stopping) {
      this.#hooks.onChange();
      return;
    }
    const lived = death.at - life.startedAt;
    this.#quickDeaths = lived >= LIMITS.restartResetMs ? 0 : this.#quickDeaths + 1;
    const wasReady = life.state === "ready";
    const pauseMs = pauseBefore(this.#quickDeaths);
    const isCounted = life.state !== "waiting";
    if (isCounted) this.#count(death);

    if (life.unusable !== undefined) this.#giveUp(new StackError("unusable", life.unusable));
    else if (isCounted && this.#deaths.length >= LIMITS.deathsMax) this.#giveUpUnlessOutage(death, pauseMs);
    else if (wasReady && pauseMs === 0) this.#restart(death);
    else this.#restartLater(death, pauseMs, wasReady);
  }

  /** Counted at once, because a restart waits for nothing; taken back when it turns out to be explained. */
  #count({ at }: Death): void {
    this.#deaths = [...this.#deaths.filter((one) => at - one < LIMITS.deathsWindowMs), at];
    void this.#outage().then((isOutage) => {
      if (isOutage) this.#deaths = this.#deaths.filter((one) => one !== at);
    });
  }

  #giveUpUnlessOutage(death: Death, pauseMs: number): void {
    const giveUp = (): void => this.#giveUp(this.#tooManyDeaths(death.how));
    if (!this.#plan.isOutage) {
      giveUp();
      return;
    }
    this.#hooks.onChange();
    void this.#outage().then((isOutage) => {
      if (isOutage) this.#restartLater(death, pauseMs, false);
      else giveUp();
    });
  }

  #outage(): Promise<boolean> {
    return this.#plan.isOutage?.().catch(() => false) ?? Promise.resolve(false);
  }

  #restartLater(death: Death, pauseMs: number, wasReady: boolean): void {
    this.#hooks.onChange();
    this.#hooks.onEvent({ type: "died", name: this.#plan.name, pid: death.pid, how: death.how });
    const again = (): void => {
      if (!this.#stopping) this.#restartTimer = setTimeout(() => this.#restart(death), pauseMs);
    };
    const decide = (obstacle: string | undefined): void => {
      if (obstacle === undefined) again();
      else this.#giveUp(new StackError("port_taken", obstacle));
    };
    if (wasReady) again();
    else this.#plan.obstacle().then(decide, again);
  }

  #restart(death: Death): void {
    this.#restarts += 1;
    try {
      this.#startLife();
    } catch (error) {
      this.#giveUp(
        new StackError("state", `${this.#plan.name} cannot be started again: ${String(error)}`, { cause: error }),
      );
      return;
    }
    const pid = this.#life?.child.pid;
    if (pid === undefined) return;
    const afterMs = Date.now() - death.at;
    this.#hooks.onEvent({ type: "restarted", name: this.#plan.name, oldPid: death.pid, how: death.how, pid, afterMs });
  }

  #giveUp(error: StackError): void {
    if (this.#stopping) return;
    this.#stopping = true;
    void this.#spare?.stop();
    this.#hooks.onChange();
    this.#rejectReady(error);
    this.#hooks.onGiveUp(error);
  }

  #tooManyDeaths(how: string): StackError {
    const { name, logFile } = this.#plan;
    const within = `${LIMITS.deathsWindowMs / 1_000} s`;
    return new StackError(
      "gave_up",
      `gave up: ${name} died ${this.#deaths.length} times within ${within}, the last time it ${how}. ` +
        `Its last lines (all of them: ${logFile}):\n${logTail(logFile).replaceAll(/^/gm, "  ")}`,
    );
  }
}

/** None after the first death, then 100 ms, 200 ms … up to the limit. */
function pauseBefore(quickDeaths: number): number {
  const { first, max } = LIMITS.restartBackoffMs;
  return quickDeaths <= 1 ? 0 : Math.min(max, first * 2 ** (quickDeaths - 2));
}

function isReady(message: unknown): message is object {
  return typeof message === "object" && message !== null && "type" in message && message.type === "ready";
}

function sandboxOf(message: object): string | undefined {
  return "sandbox" in message && typeof message.sandbox === "string" ? message.sandbox : undefined;
}

/** A process that cannot be ready before something else is. */
function isWaiting(message: unknown): message is object {
  return typeof message === "object" && message !== null && "type" in message && message.type === "waiting";
}

/** What a process says that cannot be used as it is set up. */
function reasonOf(message: unknown): string | undefined {
  if (typeof message !== "object" || message === null || !("type" in message) || message.type !== "unusable")
    return undefined;
  return "message" in message && typeof message.message === "string" ? message.message : undefined;
}

function ignore(): void {
  // Nothing to do: the death of the process is told by its exit.
}
