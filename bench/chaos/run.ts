/** One run of chaos: first every script undisturbed, then the same scripts while processes are killed, paused and set back, then the checks. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { startModelEndpoint } from "../../test/support/model-endpoint.ts";
import { describeProcess, processesOf } from "../../test/support/stray-processes.ts";
import { startWorld, type World, waitFor } from "../../test/support/world.ts";
import { checkAftermath } from "./aftermath.ts";
import { writeScript } from "./author.ts";
import { type CheckedSession, checkSession, type Violation } from "./checks.ts";
import { ChaosClient, newWeather, type Weather } from "./client.ts";
import { DatabaseCopies } from "./faults/database-copies.ts";
import { ExternalTemporal } from "./faults/external-temporal.ts";
import type { FaultType } from "./faults/fault.ts";
import { FaultMaker } from "./faults/fault-maker.ts";
import { keepOutside } from "./faults/machine.ts";
import type { LogStructure } from "./log-structure.ts";
import { play } from "./play.ts";
import { runtimesIn, runtimesOf } from "./runtimes.ts";
import { PACE, type Pace, type Strike, strikeSchedule, type Victim } from "./schedule.ts";
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
  /** Whose Temporal server it is: the stack's own, or one that can be away. */
  readonly temporal?: "embedded" | "external";
  /** Only kills, as before there were other faults. */
  readonly killsOnly?: boolean;
  /** Strikes with these instead of those that the seed decides. */
  readonly strikes?: readonly Strike[];
  readonly tell?: (line: string) => void;
}

export interface ChaosReport {
  readonly kills: Readonly<Record<Victim, number>>;
  readonly faults: Readonly<Partial<Record<FaultType, number>>>;
  /** Sessions that lived through a loss, and were judged by what must hold then. */
  readonly behind: number;
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
  temporal: "embedded" as "embedded" | "external",
  killsOnly: false,
  strikes: [] as readonly Strike[],
  tell: (): void => undefined,
};
const TOOLS = path.join(import.meta.dirname, "faults", "blocking-tool.ts");
/** What a host that is not there for long leaves to be ended. */
const LEFT_WITHIN_MS = 45_000;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  await using model = await startModelEndpoint();
  const settled = { ...DEFAULTS, ...options };
  await using place = await makePlace(settled);
  const { external } = place;
  await using world = await startWorld({
    modelUrl: model.url,
    env: { ...copilotEnv(model.url), PERDURE_TOOLS: TOOLS },
    ...(external && { temporalAddress: external.address }),
  });
  const databases = {
    store: path.join(world.stateDir, "perdure.db"),
    temporal: external?.databaseFile ?? path.join(world.stateDir, "temporal.db"),
  };
  const weather = newWeather(settled.hangAfterMs);
  const copies = new DatabaseCopies(path.join(place.folder, "copies"), databases);
  await using faults = new FaultMaker({ world, weather, copies, external, tell: settled.tell });
  const run = new ChaosRun({ world, weather, faults, effects: place.effects, options: settled });
  const report = await run.run();
  if (report.violations.length === 0) return report;
  world.keepFolder = true;
  return { ...report, folder: keepOutside(world.folder) };
}

interface Place extends AsyncDisposable {
  /** Not on the disk that may be full: what commands leave, and copies of the databases. */
  readonly folder: string;
  /** In it, only what commands leave. */
  readonly effects: string;
  readonly external: ExternalTemporal | undefined;
}

async function makePlace({ temporal }: Settled): Promise<Place> {
  const folder = mkdtempSync(path.join(process.env["PERDURE_CHAOS_KEEP"] ?? tmpdir(), "perdure-effects-"));
  const effects = path.join(folder, "effects");
  mkdirSync(effects);
  const external = temporal === "external" ? await ExternalTemporal.start(path.join(folder, "temporal")) : undefined;
  return {
    folder,
    effects,
    external,
    [Symbol.asyncDispose]: async () => {
      await external?.[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The same endpoint serves both backends. */
export function copilotEnv(modelUrl: string): Readonly<Record<string, string>> {
  return { COPILOT_PROVIDER_BASE_URL: modelUrl, COPILOT_PROVIDER_API_KEY: "sk-scripted" };
}

type Settled = Required<ChaosOptions>;

interface ChaosParts {
  readonly world: World;
  readonly weather: Weather;
  readonly faults: FaultMaker;
  /** The folder of what commands leave. */
  readonly effects: string;
  readonly options: Settled;
}

interface PlayedSession {
  readonly number: number;
  readonly effectsFile: string;
  /** Set once its making was answered. */
  readonly made: { was: boolean; asked: { close: boolean } };
}

class ChaosRun {
  readonly #world: World;
  readonly #options: Settled;
  readonly #weather: Weather;
  readonly #faults: FaultMaker;
  readonly #effects: string;
  readonly #violations: Violation[] = [];
  readonly #undisturbed = new Map<number, LogStructure>();
  #sessions = 0;
  #turns = 0;
  #commands = 0;
  #decisions = 0;
  #behind = 0;

  constructor({ world, weather, faults, effects, options }: ChaosParts) {
    this.#world = world;
    this.#options = options;
    this.#weather = weather;
    this.#faults = faults;
    this.#effects = effects;
  }

  async run(): Promise<ChaosReport> {
    const { tell, scripts, stormMs } = this.#options;
    const numbers = Array.from({ length: scripts }, (_, number) => number);
    tell(`undisturbed: ${scripts} sessions`);
    await Promise.all(numbers.map((number) => this.#runSession(number)));
    const storm = new Storm(this.#world, this.#weather, { faults: this.#faults });
    const until = Date.now() + stormMs;
    tell(`undisturbed done, ${this.#violations.length} violations; now for ${Math.round(stormMs / 1_000)} s of kills`);
    const raging = storm.rage(this.#schedule(), until);
    await Promise.all([raging, ...Array.from({ length: this.#options.sessions }, () => this.#keepRunning(until))]);
    await this.#faults.settle();
    tell(`${storm.killCount} kills, ${storm.restarts} restarts of the whole stack; now the last checks`);
    await this.#checkRest();
    return {
      kills: storm.kills,
      faults: this.#faults.counts,
      behind: this.#behind,
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

  #schedule(): Iterable<Strike> {
    const { seed, pace, backend, temporal, strikes, killsOnly, tell } = this.#options;
    if (strikes.length > 0) return strikes;
    const { types, skipped } = FaultMaker.able(temporal === "external");
    for (const fault of killsOnly ? [] : skipped) tell(`skipped here: ${fault}`);
    return strikeSchedule({ seed, pace, hasRuntime: backend === "copilot", ...(!killsOnly && { faults: types }) });
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
    const { losses, storeLosses } = this.#weather;
    const made: PlayedSession["made"] = { was: false, asked: { close: false } };
    const played = await this.#playAndCheck(script, { number, effectsFile, made }).catch((error: unknown) => {
      const rule = error instanceof Error ? error.name : "Error";
      const detail = error instanceof Error ? error.message : String(error);
      return { structure: undefined, violations: [{ session: token, rule, detail }] };
    });
    if (this.#weather.losses !== losses) {
      this.#behind += 1;
      const place = { world: this.#world, weather: this.#weather };
      const checked = {
        place,
        script,
        effectsFile,
        wasMade: made.was,
        asked: made.asked,
        storeLossesBefore: storeLosses,
      };
      this.#violations.push(...(await checkAftermath(checked)));
      return;
    }
    this.#violations.push(...played.violations);
    if (played.structure && !this.#undisturbed.has(number)) this.#undisturbed.set(number, played.structure);
  }

  async #playAndCheck(script: SessionScript, of: PlayedSession): Promise<CheckedSession> {
    const { number, effectsFile, made } = of;
    const place = { world: this.#world, weather: this.#weather };
    const client = await ChaosClient.open(place, { id: script.token, agent: script.agent });
    made.was = true;
    made.asked = client.asked;
    try {
      await play(client, script);
      return await checkSession({ client, script, effectsFile, expected: this.#undisturbed.get(number) });
    } finally {
      await client.reader[Symbol.asyncDispose]();
    }
  }

  /** A store that was set back has sessions open again that were closed and checked. */
  async #closeAgain(): Promise<void> {
    for (const status of ["idle", "running", "waiting"]) {
      const listed = await this.#world.request<{ sessions: { id: string }[] }>(
        "GET",
        `/v1/sessions?status=${status}&limit=200`,
      );
      for (const { id } of listed.body.sessions) await this.#world.request("POST", `/v1/sessions/${id}/close`, {});
    }
  }

  /** What must be true of the whole when every session is closed. */
  async #checkRest(): Promise<void> {
    if (this.#violations.some((violation) => violation.rule === "HangError")) return; // Their sessions are still open.
    if (this.#weather.storeLosses > 0) await this.#closeAgain();
    await this.#check("no workflow is left over", LEFT_WITHIN_MS, async () => {
      const client = await this.#world.temporal();
      return (await client.workflow.count("ExecutionStatus = 'Running'")).count === 0;
    });
    const folders = [this.#effects, path.join(this.#world.stateDir, "sandboxes")];
    await this.#check("no command is left over", LEFT_WITHIN_MS, () => strays(folders).length === 0);
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
