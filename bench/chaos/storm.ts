/** Kills processes of a stack by schedule, from the pids that `processes.json` tells, has other faults made, and notes what it did. */
import { setTimeout as delay } from "node:timers/promises";
import { identityOf } from "../../cli/process-identity.ts";
import type { ProcessName } from "../../cli/state-directory.ts";
import { LIMITS } from "../../contract/limits.ts";
import { type World, waitFor } from "../../test/support/world.ts";
import type { Violation } from "./checks.ts";
import type { Weather } from "./client.ts";
import type { FaultMaker } from "./faults/fault-maker.ts";
import { runtimesOf } from "./runtimes.ts";
import type { Kill, Strike, Victim } from "./schedule.ts";

/**
 * The supervisor gives up, rightly, on a process that dies too often within a minute, and pauses longer before each
 * restart. So before it comes to that the whole stack is ended and started again, which is one more thing to survive.
 */
const DEATHS_BEFORE_RESTART = Math.floor(LIMITS.deathsMax * 0.6);
const COMES_BACK_MS = 30_000;
/** A worker that has just come back starts its runtime with the first step that it takes up. */
const RUNTIME_STARTS_MS = 3_000;

export interface StormOptions {
  /** Kills one of the sandboxes that there are; false: there was none. */
  readonly killSandbox?: () => Promise<boolean>;
  readonly faults?: FaultMaker;
}

export class Storm {
  readonly kills: Record<Victim, number> = { worker: 0, api: 0, temporal: 0, runtime: 0, sandbox: 0 };
  readonly violations: Violation[] = [];
  /** Restarts of the whole stack. */
  restarts = 0;
  readonly #world: World;
  readonly #weather: Weather;
  readonly #options: StormOptions;
  readonly #killed = new Set<number>();
  readonly #watchers = new Set<(news: Victim | "calm") => void>();
  #eventsBefore = 0;

  constructor(world: World, weather: Weather, options: StormOptions = {}) {
    this.#world = world;
    this.#weather = weather;
    this.#options = options;
  }

  get killCount(): number {
    return Object.values(this.kills).reduce((sum, count) => sum + count, 0);
  }

  /** Deaths that were not its doing: a worker that cannot connect ends by itself, and is started again. */
  get otherDeaths(): number {
    return this.#deaths(0).filter((pid) => !this.#killed.has(pid)).length;
  }

  /** Calls `watcher` at each kill, at once, and when there will be no more; what is returned ends that. */
  watch(watcher: (news: Victim | "calm") => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Rages until the time or the schedule is over, and leaves a stack that runs. */
  async rage(schedule: Iterable<Strike>, until: number): Promise<void> {
    const { faults } = this.#options;
    for (const strike of schedule) {
      if (Date.now() + strike.afterMs > until) break;
      await delay(strike.afterMs);
      if (this.#isNearlyGivenUp()) await this.#restart();
      if ("names" in strike) await this.#strike(strike);
      else await this.#make(strike.fault);
    }
    await faults?.settle();
    await waitFor(
      "every process is back",
      () => this.#world.processes().length === this.#wanted(),
      COMES_BACK_MS,
    ).catch((error: unknown) => this.#note("processes come back", String(error)));
    this.#weather.lastStormAt = Date.now();
    for (const watcher of this.#watchers) watcher("calm");
  }

  async #make(fault: Parameters<FaultMaker["make"]>[0]): Promise<void> {
    const { faults } = this.#options;
    if (!faults) return;
    await faults.make(fault).catch((error: unknown) => this.#note(`the stack survives: ${fault.type}`, String(error)));
    this.#weather.lastStormAt = Date.now();
  }

  async #strike(kill: Kill): Promise<void> {
    for (const name of kill.names) {
      if (name === "sandbox") {
        if (await this.#options.killSandbox?.()) this.#struck(name);
        continue;
      }
      if (name === "temporal" && this.#options.faults?.killTemporal) {
        await this.#options.faults.killTemporal();
        this.#struck(name);
        continue;
      }
      const pid = name === "runtime" ? await this.#runtime() : await this.#process(name);
      // It may have died by itself a moment ago; then there is nothing to kill, and the supervisor is at it.
      if (pid === undefined || identityOf(pid) === undefined) continue;
      process.kill(pid, "SIGKILL");
      this.#killed.add(pid);
      this.#struck(name);
    }
  }

  #struck(name: Victim): void {
    this.kills[name] += 1;
    this.#weather.lastStormAt = Date.now();
    for (const watcher of this.#watchers) watcher(name);
  }

  async #process(name: ProcessName): Promise<number | undefined> {
    const isThere = (): boolean => this.#world.processes().some((entry) => entry.name === name);
    try {
      await waitFor(`${name} is in processes.json`, isThere, COMES_BACK_MS);
      return this.#world.pidOf(name);
    } catch (error) {
      this.#note("processes come back", String(error));
      return undefined;
    }
  }

  /** The newest one of the worker; undefined when it has none, because it runs no step. */
  async #runtime(): Promise<number | undefined> {
    const find = (): number | undefined => {
      const worker = this.#world.processes().find((entry) => entry.name === "worker");
      return worker && runtimesOf(worker.pid).at(-1);
    };
    await waitFor("there is a runtime", () => find() !== undefined, RUNTIME_STARTS_MS).catch(() => undefined);
    return find();
  }

  /** By turns in order, and as when the host is lost: all at once. */
  async #restart(): Promise<void> {
    this.restarts += 1;
    await this.#options.faults?.settle();
    await this.#world.restart(this.restarts % 2 === 1 ? "kill" : "drain");
    this.#eventsBefore = this.#world.stackEvents.length;
    this.#weather.lastStormAt = Date.now();
  }

  #isNearlyGivenUp(): boolean {
    const deaths = new Map<string, number>();
    for (const event of this.#world.stackEvents.slice(this.#eventsBefore)) {
      if (event.type === "gave_up") this.#note("the supervisor does not give up", event.message);
      if (event.type === "restarted") deaths.set(event.name, (deaths.get(event.name) ?? 0) + 1);
    }
    return [...deaths.values()].some((count) => count >= DEATHS_BEFORE_RESTART);
  }

  #deaths(since: number): readonly number[] {
    return this.#world.stackEvents.slice(since).flatMap((event) => (event.type === "restarted" ? [event.oldPid] : []));
  }

  #wanted(): number {
    return this.#world.hasOwnTemporal ? 3 : 2;
  }

  #note(rule: string, detail: string): void {
    this.violations.push({ session: "-", rule, detail });
  }
}
