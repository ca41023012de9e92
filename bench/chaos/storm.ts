/** Kills processes of a stack by schedule, from the pids that `processes.json` tells, and notes what it did. */
import { setTimeout as delay } from "node:timers/promises";
import { identityOf } from "../../cli/process-identity.ts";
import type { ProcessName } from "../../cli/state-directory.ts";
import { LIMITS } from "../../contract/limits.ts";
import { type World, waitFor } from "../../test/support/world.ts";
import type { Violation } from "./checks.ts";
import type { Weather } from "./client.ts";
import type { Kill } from "./schedule.ts";

/**
 * The supervisor gives up, rightly, on a process that dies too often within a minute, and pauses longer before each
 * restart. So before it comes to that the whole stack is ended and started again, which is one more thing to survive.
 */
const DEATHS_BEFORE_RESTART = Math.floor(LIMITS.deathsMax * 0.6);
const COMES_BACK_MS = 20_000;

export class Storm {
  readonly kills: Record<ProcessName, number> = { worker: 0, api: 0, temporal: 0 };
  readonly violations: Violation[] = [];
  /** Restarts of the whole stack. */
  restarts = 0;
  readonly #world: World;
  readonly #weather: Weather;
  readonly #killed = new Set<number>();
  #eventsBefore = 0;

  constructor(world: World, weather: Weather) {
    this.#world = world;
    this.#weather = weather;
  }

  get killCount(): number {
    return this.kills.worker + this.kills.api + this.kills.temporal;
  }

  /** Deaths that were not its doing: a worker that cannot connect ends by itself, and is started again. */
  get otherDeaths(): number {
    return this.#deaths(0).filter((pid) => !this.#killed.has(pid)).length;
  }

  /** Rages until the time is over, and leaves a stack that runs. */
  async rage(schedule: Iterable<Kill>, until: number): Promise<void> {
    for (const kill of schedule) {
      if (Date.now() + kill.afterMs > until) break;
      await delay(kill.afterMs);
      if (this.#isNearlyGivenUp()) await this.#restart();
      await this.#strike(kill);
    }
    await waitFor(
      "every process is back",
      () => this.#world.processes().length === this.#wanted(),
      COMES_BACK_MS,
    ).catch((error: unknown) => this.#note("processes come back", String(error)));
    this.#weather.lastStormAt = Date.now();
  }

  async #strike(kill: Kill): Promise<void> {
    for (const name of kill.names) {
      const isThere = (): boolean => this.#world.processes().some((entry) => entry.name === name);
      try {
        await waitFor(`${name} is in processes.json`, isThere, COMES_BACK_MS);
      } catch (error) {
        this.#note("processes come back", String(error));
        return;
      }
      const pid = this.#world.pidOf(name);
      // It may have died by itself a moment ago; then there is nothing to kill, and the supervisor is at it.
      if (identityOf(pid) === undefined) continue;
      this.#world.kill(name);
      this.#killed.add(pid);
      this.kills[name] += 1;
      this.#weather.lastStormAt = Date.now();
    }
  }

  /** By turns in order, and as when the host is lost: all at once. */
  async #restart(): Promise<void> {
    this.restarts += 1;
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
    return this.#world.stack.uiUrl === undefined ? 2 : 3;
  }

  #note(rule: string, detail: string): void {
    this.violations.push({ session: "-", rule, detail });
  }
}
