/** Chaos with sandboxes: sessions at work while their sandboxes, worker, API and Temporal are killed; then the truth. */
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { SandboxId } from "../../contract/ids.ts";
import type { SandboxProviderName } from "../../contract/sandbox.ts";
import { startModelEndpoint } from "../../test/support/model-endpoint.ts";
import { startWorld, type World, waitFor } from "../../test/support/world.ts";
import { checkSequence, checkStream, type Violation, wholeLog } from "../chaos/checks.ts";
import { ChaosClient, newWeather, type Weather } from "../chaos/client.ts";
import { DatabaseCopies } from "../chaos/faults/database-copies.ts";
import { DISTURBANCES, type FaultType } from "../chaos/faults/fault.ts";
import { FaultMaker } from "../chaos/faults/fault-maker.ts";
import { structureOf } from "../chaos/log-structure.ts";
import { createRandom } from "../chaos/random.ts";
import { type Pace, strikeSchedule, type Victim } from "../chaos/schedule.ts";
import { Storm } from "../chaos/storm.ts";
import { auditLosses, type SandboxAudit } from "./loss-audit.ts";
import { findVictims } from "./providers.ts";
import { type SandboxScript, STARTS_FILE, writeSandboxScript } from "./script.ts";
import { type KilledSandbox, linesOf, type SandboxVictims } from "./victims.ts";

export interface SandboxChaosOptions {
  readonly provider: SandboxProviderName;
  readonly seed: number;
  /** How long is killed. */
  readonly stormMs: number;
  readonly sessions: number;
  /** Of a session, but for the last one, which only looks. */
  readonly turns?: number;
  readonly pace?: Pace;
  /** Nothing but kills, as before there were pauses, a blocked event loop and other host names. */
  readonly killsOnly?: boolean;
  readonly tell: (line: string) => void;
}

export interface SandboxChaosReport {
  readonly kills: Readonly<Record<Victim, number>>;
  readonly faults: Readonly<Partial<Record<FaultType, number>>>;
  readonly restarts: number;
  readonly sessions: number;
  readonly turns: number;
  readonly commands: number;
  readonly losses: number;
  readonly snapshots: number;
  readonly looks: number;
  readonly outcomes: Readonly<Record<string, number>>;
  /** Killed sandboxes of which nobody could see what they had begun. */
  readonly unseen: number;
  readonly violations: readonly Violation[];
  /** Where everything is kept when there are violations. */
  readonly folder: string;
}

const BLOCKING_TOOL = path.join(import.meta.dirname, "..", "chaos", "faults", "blocking-tool.ts");
const HANG_AFTER_MS = 60_000;
const PACE: Pace = { minMs: 400, maxMs: 2_400 };
const TURNS = 5;
/** Where every session has just closed, the next ones make theirs. */
const APPEARS_MS = 3_000;
const LEFT_WITHIN_MS = 30_000;

export async function runSandboxChaos(options: SandboxChaosOptions): Promise<SandboxChaosReport> {
  await using model = await startModelEndpoint();
  await using found = await findVictims(options.provider);
  const env = found.environment;
  const toolsEnv = { ...env, PERDURE_TOOLS: BLOCKING_TOOL };
  await using world = await startWorld({ modelUrl: model.url, sandbox: options.provider, env: toolsEnv });
  await using victims = found.of(world);
  options.tell(`${options.provider}: ${victims.description}`);
  const weather = newWeather(HANG_AFTER_MS);
  const databases = {
    store: path.join(world.stateDir, "perdure.db"),
    temporal: path.join(world.stateDir, "temporal.db"),
  };
  const copies = new DatabaseCopies(path.join(world.folder, "copies"), databases);
  await using faults = new FaultMaker({ world, weather, copies, external: undefined, tell: options.tell });
  const report = await new SandboxChaos({ world, victims, weather, faults }, options).run();
  world.keepFolder = report.violations.length > 0;
  return report;
}

interface SandboxChaosParts {
  readonly world: World;
  readonly victims: SandboxVictims;
  readonly weather: Weather;
  readonly faults: FaultMaker;
}

class SandboxChaos {
  readonly #world: World;
  readonly #victims: SandboxVictims;
  readonly #options: SandboxChaosOptions;
  readonly #weather: Weather;
  readonly #faults: FaultMaker;
  readonly #killed: KilledSandbox[] = [];
  #killing: Promise<unknown> = Promise.resolve();
  readonly #violations: Violation[] = [];
  readonly #audits: SandboxAudit[] = [];
  #sessions = 0;
  #turns = 0;
  #commands = 0;

  constructor({ world, victims, weather, faults }: SandboxChaosParts, options: SandboxChaosOptions) {
    this.#world = world;
    this.#victims = victims;
    this.#weather = weather;
    this.#faults = faults;
    this.#options = options;
  }

  async run(): Promise<SandboxChaosReport> {
    const { seed, stormMs, sessions, tell, pace = PACE, killsOnly = false } = this.#options;
    const random = createRandom(seed);
    const storm = new Storm(this.#world, this.#weather, {
      killSandbox: () => this.#killOne((ids) => random.oneOf(ids)),
      faults: this.#faults,
    });
    const until = Date.now() + stormMs;
    // What takes time away is another proof's: a sandbox and its rows that part are judged by other rules.
    const able = FaultMaker.able(false).types;
    const types = new Set(killsOnly ? [] : DISTURBANCES.filter((type) => able.has(type)));
    const raging = storm.rage(strikeSchedule({ seed, pace, hasSandbox: true, faults: types }), until);
    const playing = Array.from({ length: sessions }, () => this.#keepRunning(until));
    await Promise.all([raging, ...playing]);
    await this.#faults.settle();
    tell(`${storm.killCount} kills, ${storm.restarts} restarts of the whole stack; now the last checks`);
    await this.#checkRest();
    const sum = (count: (audit: SandboxAudit) => number): number => this.#audits.reduce((n, one) => n + count(one), 0);
    return {
      kills: storm.kills,
      faults: this.#faults.counts,
      restarts: storm.restarts,
      sessions: this.#sessions,
      turns: this.#turns,
      commands: this.#commands,
      losses: sum(({ losses }) => losses),
      snapshots: sum(({ snapshots }) => snapshots),
      looks: sum(({ looks }) => looks),
      outcomes: sumOutcomes(this.#audits),
      unseen: this.#killed.filter(({ starts }) => starts === undefined).length,
      violations: [...this.#violations, ...storm.violations],
      folder: this.#world.folder,
    };
  }

  async #keepRunning(until: number): Promise<void> {
    do await this.#runSession();
    while (Date.now() < until);
  }

  async #killOne(choose: (ids: readonly [SandboxId, ...SandboxId[]]) => SandboxId): Promise<boolean> {
    let ids: readonly SandboxId[] = [];
    const look = async (): Promise<boolean> => {
      ids = await this.#victims.list();
      return ids.length > 0;
    };
    await waitFor("there is a sandbox", look, APPEARS_MS).catch(() => undefined);
    const [first, ...others] = ids;
    if (first === undefined) return false;
    const killing = this.#victims.kill(choose([first, ...others]));
    this.#killing = killing.catch(() => undefined);
    const killed = await killing;
    if (killed) this.#killed.push(killed);
    return killed !== undefined;
  }

  async #runSession(): Promise<void> {
    const { seed, turns = TURNS } = this.#options;
    const number = this.#sessions++;
    const token = `box-${String(number).padStart(4, "0")}`;
    const script = writeSandboxScript({ seed: seed * 1_000 + number, token, turns });
    this.#turns += script.turns.length;
    this.#commands += script.calls.filter(({ kind }) => kind !== "write").length;
    try {
      const client = await ChaosClient.open({ world: this.#world, weather: this.#weather }, { id: token });
      try {
        const lastStarts = await this.#play(client, script);
        await this.#check(client, script, lastStarts);
      } finally {
        await client.reader[Symbol.asyncDispose]();
      }
    } catch (error) {
      const rule = error instanceof Error ? error.name : "Error";
      this.#note(token, rule, error instanceof Error ? error.message : String(error));
    }
  }

  /** Every turn, then what the commands left, then the end. */
  async #play(client: ChaosClient, script: SandboxScript): Promise<readonly string[] | undefined> {
    for (const turn of script.turns) {
      await delay(turn.pauseMs);
      await client.post(turn, "queue");
      await client.ended(turn);
    }
    const answer = await client.ask({ method: "GET", route: `/files/${STARTS_FILE}`, accepts: [404, 409, 410] });
    await client.close();
    return answer?.status === 200 ? linesOf(new TextDecoder().decode(answer.bytes)) : undefined;
  }

  async #check(client: ChaosClient, script: SandboxScript, lastStarts: readonly string[] | undefined): Promise<void> {
    const { token } = script;
    const log = await wholeLog(client);
    await this.#killing; // What it began before the end is part of the truth.
    const killed = this.#killed.filter(({ id }) => id.startsWith(`sbx_${token}-`));
    const audit = auditLosses({ script, log, killed, lastStarts });
    this.#audits.push(audit);
    const structure = structureOf(log, token);
    for (const [rule, detail] of audit.faults) this.#note(token, rule, detail);
    for (const detail of checkSequence(log)) this.#note(token, "the log is 1, 2, 3 …", detail);
    for (const detail of checkStream(client, log)) this.#note(token, "the stream is the log", detail);
    for (const detail of structure.faults) this.#note(token, "the log tells a possible story", detail);
  }

  /** What must be true of the whole when every session is closed. */
  async #checkRest(): Promise<void> {
    if (this.#violations.some(({ rule }) => rule === "HangError")) return; // Their sessions are still open.
    await this.#hold("no workflow is left over", async () => {
      const client = await this.#world.temporal();
      return (await client.workflow.count("ExecutionStatus = 'Running'")).count === 0;
    });
    await this.#hold("no sandbox is left over", async () => (await this.#victims.list()).length === 0);
    await this.#hold("no command is left over", async () => (await this.#victims.strays()).length === 0);
    for (const stray of await this.#victims.strays()) this.#note("-", "no command is left over", stray);
    await this.#hold("processes.json is true", async () => this.#world.hasTrueProcessList());
  }

  async #hold(rule: string, holds: () => Promise<boolean>): Promise<void> {
    await waitFor(rule, holds, LEFT_WITHIN_MS).catch((error: unknown) => this.#note("-", rule, String(error)));
  }

  #note(session: string, rule: string, detail: string): void {
    this.#violations.push({ session, rule, detail });
  }
}

function sumOutcomes(audits: readonly SandboxAudit[]): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const { outcomes } of audits) {
    for (const [outcome, count] of Object.entries(outcomes)) sums[outcome] = (sums[outcome] ?? 0) + count;
  }
  return sums;
}
