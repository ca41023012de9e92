/** One run of chaos: first every script undisturbed, then the same scripts while processes are killed, then the checks. */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { startModelEndpoint } from "../../test/support/model-endpoint.ts";
import { describeProcess, processesOf } from "../../test/support/stray-processes.ts";
import { startWorld, type World, waitFor } from "../../test/support/world.ts";
import { writeScript } from "./author.ts";
import { type CheckedSession, checkSession, type Violation } from "./checks.ts";
import { ChaosClient, type Weather } from "./client.ts";
import type { LogStructure } from "./log-structure.ts";
import { play } from "./play.ts";
import { runtimesIn, runtimesOf } from "./runtimes.ts";
import { killSchedule, PACE, type Pace, type Victim } from "./schedule.ts";
import { messagesOf, type ScriptSize, type SessionScript } from "./script.ts";
import { Storm } from "./storm.ts";

export type Backend = "openai" | "copilot";

export interface ChaosOptions {
  readonly seed: number;
  /** Whose agents they are. Of `copilot`, the process that its steps run in is killed, too. */
  readonly backend?: Backend;
  /** How long processes are killed. */
  readonly stormMs: number;
  /** Sessions at a time. */
  readonly sessions?: number;
  /** Different scripts; each runs once undisturbed, and then again and again. */
  readonly scripts?: number;
  readonly size?: ScriptSize;
  readonly pace?: Pace;
  /** A wait that is longer than this after the last kill is a hang. */
  readonly hangAfterMs?: number;
  readonly tell?: (line: string) => void;
}

export interface ChaosReport {
  readonly kills: Readonly<Record<Victim, number>>;
  readonly restarts: number;
  readonly otherDeaths: number;
  readonly sessions: number;
  readonly turns: number;
  readonly commands: number;
  readonly decisions: number;
  readonly violations: readonly Violation[];
  /** Where everything is kept when there are violations. */
  readonly folder: string;
}

const DEFAULTS = {
  backend: "openai" as Backend,
  sessions: 6,
  scripts: 8,
  size: { acts: 4, works: 4 },
  pace: PACE,
  hangAfterMs: 60_000,
  tell: (): void => undefined,
};

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  await using model = await startModelEndpoint();
  await using world = await startWorld({ modelUrl: model.url, env: copilotEnv(model.url) });
  const run = new ChaosRun(world, { ...DEFAULTS, ...options });
  const report = await run.run();
  world.keepFolder = report.violations.length > 0;
  return report;
}

/** The same endpoint serves both backends. */
export function copilotEnv(modelUrl: string): Readonly<Record<string, string>> {
  return { COPILOT_PROVIDER_BASE_URL: modelUrl, COPILOT_PROVIDER_API_KEY: "sk-scripted" };
}

type Settled = Required<ChaosOptions>;

class ChaosRun {
  readonly #world: World;
  readonly #options: Settled;
  readonly #weather: Weather;
  readonly #effects: string;
  readonly #violations: Violation[] = [];
  readonly #undisturbed = new Map<number, LogStructure>();
  #sessions = 0;
  #turns = 0;
  #commands = 0;
  #decisions = 0;

  constructor(world: World, options: Settled) {
    this.#world = world;
    this.#options = options;
    this.#weather = { lastStormAt: 0, hangAfterMs: options.hangAfterMs };
    this.#effects = path.join(world.folder, "effects");
    mkdirSync(this.#effects);
  }

  async run(): Promise<ChaosReport> {
    const { tell, scripts, seed, stormMs, pace, backend } = this.#options;
    const numbers = Array.from({ length: scripts }, (_, number) => number);
    tell(`undisturbed: ${scripts} sessions`);
    await Promise.all(numbers.map((number) => this.#runSession(number)));
    const storm = new Storm(this.#world, this.#weather);
    const until = Date.now() + stormMs;
    tell(`undisturbed done, ${this.#violations.length} violations; now for ${Math.round(stormMs / 1_000)} s of kills`);
    const raging = storm.rage(killSchedule({ seed, pace, hasRuntime: backend === "copilot" }), until);
    await Promise.all([raging, ...Array.from({ length: this.#options.sessions }, () => this.#keepRunning(until))]);
    tell(`${storm.killCount} kills, ${storm.restarts} restarts of the whole stack; now the last checks`);
    await this.#checkRest();
    return {
      kills: storm.kills,
      restarts: storm.restarts,
      otherDeaths: storm.otherDeaths,
      sessions: this.#sessions,
      turns: this.#turns,
      commands: this.#commands,
      decisions: this.#decisions,
      violations: [...this.#violations, ...storm.violations],
      folder: this.#world.folder,
    };
  }

  /** One session after another until the time is over. */
  async #keepRunning(until: number): Promise<void> {
    while (Date.now() < until) await this.#runSession(this.#sessions % this.#options.scripts);
  }

  async #runSession(number: number): Promise<void> {
    const token = `chaos-${String(this.#sessions++).padStart(4, "0")}`;
    const effectsFile = path.join(this.#effects, `${token}.log`);
    const { seed, size, backend } = this.#options;
    const script = writeScript({ seed: seed * 1_000 + number, token, effectsFile, backend, size });
    this.#turns += script.acts.flatMap(messagesOf).length;
    this.#commands += script.commands.length;
    this.#decisions += script.acts.flatMap((act) => (act.type === "decide" ? act.decisions : [])).length;
    try {
      const { structure, violations } = await this.#playAndCheck(script, number, effectsFile);
      this.#violations.push(...violations);
      if (!this.#undisturbed.has(number)) this.#undisturbed.set(number, structure);
    } catch (error) {
      const rule = error instanceof Error ? error.name : "Error";
      this.#violations.push({ session: token, rule, detail: error instanceof Error ? error.message : String(error) });
    }
  }

  async #playAndCheck(script: SessionScript, number: number, effectsFile: string): Promise<CheckedSession> {
    const place = { world: this.#world, weather: this.#weather };
    const client = await ChaosClient.open(place, { id: script.token, agent: script.agent });
    try {
      await play(client, script);
      return await checkSession({ client, script, effectsFile, expected: this.#undisturbed.get(number) });
    } finally {
      await client.reader[Symbol.asyncDispose]();
    }
  }

  /** What must be true of the whole when every session is closed. */
  async #checkRest(): Promise<void> {
    if (this.#violations.some((violation) => violation.rule === "HangError")) return; // Their sessions are still open.
    await this.#check("no workflow is left over", 15_000, async () => {
      const client = await this.#world.temporal();
      return (await client.workflow.count("ExecutionStatus = 'Running'")).count === 0;
    });
    const folders = [this.#effects, path.join(this.#world.stateDir, "sandboxes")];
    await this.#check("no command is left over", 5_000, () => strays(folders).length === 0);
    for (const pid of strays(folders)) this.#note("no command is left over", describeProcess(pid));
    await this.#check("no runtime is left over", 5_000, () => {
      const kept = runtimesOf(this.#world.pidOf("worker"));
      return runtimesIn(this.#world.folder).every((pid) => kept.includes(pid));
    });
    await this.#check("processes.json is true", 5_000, () => this.#world.hasTrueProcessList());
  }

  async #check(rule: string, deadlineMs: number, holds: () => boolean | Promise<boolean>): Promise<void> {
    await waitFor(rule, holds, deadlineMs).catch((error: unknown) => this.#note(rule, String(error)));
  }

  #note(rule: string, detail: string): void {
    this.#violations.push({ session: "-", rule, detail });
  }
}

function strays(folders: readonly string[]): readonly number[] {
  return folders.flatMap((folder) => processesOf(folder));
}
