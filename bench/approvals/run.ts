/**
 * The proof of approvals: agents ask for commands, people decide as planned, and meanwhile every process is killed over and
 * over. In the end each command has run once if it was approved, and never if it was not.
 */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { startModelEndpoint } from "../../test/support/model-endpoint.ts";
import { scripted, startWorld, type World, waitFor } from "../../test/support/world.ts";
import { ChaosClient, newWeather, type Weather } from "../chaos/client.ts";
import { createRandom } from "../chaos/random.ts";
import { type Backend, copilotEnv } from "../chaos/run.ts";
import type { Kill, Victim } from "../chaos/schedule.ts";
import { ASKING_POLICY } from "../chaos/script.ts";
import { Storm } from "../chaos/storm.ts";
import { type Audit, auditSession, type Finding } from "./audit.ts";
import { type Outside, People, type Post } from "./people.ts";
import { commandOf, type PlannedAsk, planSessions, type SessionPlan, shuffled } from "./plan.ts";

export interface ApprovalsOptions {
  readonly seed: number;
  readonly sessions: number;
  readonly backend: Backend;
  /** Each process is killed so often, at least, while approvals wait. */
  readonly killsEach: number;
  readonly tell: (line: string) => void;
}

export interface ApprovalsReport {
  readonly kills: Readonly<Record<Victim, number>>;
  readonly restarts: number;
  readonly audits: readonly Audit[];
  readonly posts: readonly Post[];
  /** What is not of one approval. */
  readonly findings: readonly Finding[];
  readonly folder: string;
}

const HANG_AFTER_MS = 90_000;
const PAUSE = { minMs: 300, maxMs: 1_500 };
const LONGEST_MS = 15 * 60_000;
/** The kills keep pace with the decisions: they are ahead by no more than this share, unless nobody decides for so long. */
const AHEAD = 0.08;
const WAITS = { eachMs: 250, most: 80 };

export async function proveApprovals(options: ApprovalsOptions): Promise<ApprovalsReport> {
  await using model = await startModelEndpoint();
  await using world = await startWorld({ modelUrl: model.url, env: copilotEnv(model.url) });
  const report = await new Proof(world, options).run();
  const findings = [...report.findings, ...report.audits.flatMap((audit) => audit.findings)];
  world.keepFolder = findings.length > 0;
  return report;
}

class Proof implements Outside {
  readonly #world: World;
  readonly #options: ApprovalsOptions;
  readonly #weather: Weather = newWeather(HANG_AFTER_MS);
  readonly #storm: Storm;
  readonly #victims: readonly Victim[];
  readonly #plans: readonly SessionPlan[];
  /** Decisions that wait to be admitted, in all. */
  readonly #decisions: number;
  readonly #findings: Finding[] = [];
  readonly #clients = new Map<string, ChaosClient>();
  #admitted = 0;
  /** People who wait for a kill. */
  #killsWanted = 0;
  #isCalm = false;

  constructor(world: World, options: ApprovalsOptions) {
    this.#world = world;
    this.#options = options;
    this.#storm = new Storm(world, this.#weather);
    this.#victims = ["worker", "api", "temporal", ...(options.backend === "copilot" ? (["runtime"] as const) : [])];
    const effects = path.join(world.folder, "effects");
    this.#plans = planSessions({ ...options, effects });
    this.#decisions = this.#plans.flatMap(({ turns, timeoutMs }) => (timeoutMs ? [] : turns.flat())).length;
  }

  async run(): Promise<ApprovalsReport> {
    const { sessions, tell } = this.#options;
    tell(
      `${sessions} sessions that ask ten times each; every process is killed ${this.#options.killsEach} times meanwhile`,
    );
    const raging = this.#rage();
    const results = await Promise.all(this.#plans.map((plan) => this.#runSession(plan)));
    await raging;
    tell(`${this.#storm.killCount} kills, ${this.#storm.restarts} restarts of the whole stack; everything is decided`);
    const { violations, kills, restarts } = this.#storm;
    return {
      kills,
      restarts,
      audits: results.flatMap(({ audit }) => audit ?? []),
      posts: results.flatMap(({ posts }) => posts),
      findings: [...this.#findings, ...violations.map(({ detail }) => ({ offence: "wrong" as const, detail }))],
      folder: this.#world.folder,
    };
  }

  async admit(): Promise<void> {
    const share = this.#admitted++ / this.#decisions;
    await waitFor("enough has been killed", () => this.#isCalm || this.#progress() >= share, LONGEST_MS);
  }

  killOf(name: string): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isCalm) return resolve();
      this.#killsWanted++;
      const stop = this.#storm.watch((killed) => {
        if (killed !== name && killed !== "calm") return;
        stop();
        this.#killsWanted--;
        resolve();
      });
    });
  }

  strangersCall(of: string): string | undefined {
    for (const [id, { reader }] of this.#clients) {
      const asked = id === of ? undefined : reader.ofType("approval.requested").at(-1);
      if (asked) return asked.callId;
    }
    return undefined;
  }

  async #rage(): Promise<void> {
    await this.#storm.rage(this.#schedule(), Date.now() + LONGEST_MS);
    this.#isCalm = true;
    if (this.#progress() < 1) this.#findings.push({ offence: "wrong", detail: "there were fewer kills than wanted" });
  }

  /** Every process once, in any order, and again, until each has been killed often enough. */
  *#schedule(): Generator<Kill, void> {
    const random = createRandom(this.#options.seed);
    while (this.#progress() < 1) {
      for (const name of shuffled(random, this.#victims)) {
        for (let wait = 0; wait < WAITS.most && this.#isAhead(); wait++) yield { afterMs: WAITS.eachMs, names: [] };
        yield { afterMs: Math.round(random.between(PAUSE.minMs, PAUSE.maxMs)), names: [name] };
      }
    }
  }

  #isAhead(): boolean {
    return this.#killsWanted === 0 && this.#progress() > this.#admitted / this.#decisions + AHEAD;
  }

  /** From 0 to 1. */
  #progress(): number {
    const { killsEach } = this.#options;
    const counted = this.#victims.map((name) => Math.min(this.#storm.kills[name], killsEach));
    return counted.reduce((sum, count) => sum + count, 0) / (killsEach * this.#victims.length);
  }

  async #runSession(plan: SessionPlan): Promise<{ readonly audit?: Audit; readonly posts: readonly Post[] }> {
    mkdirSync(plan.effects, { recursive: true });
    const limits = plan.timeoutMs === undefined ? {} : { approvalTimeoutMs: plan.timeoutMs };
    const agent = { backend: this.#options.backend, policy: ASKING_POLICY, limits };
    let people: People | undefined;
    try {
      const client = await ChaosClient.open({ world: this.#world, weather: this.#weather }, { id: plan.id, agent });
      this.#clients.set(plan.id, client);
      people = new People(client, plan, this);
      for (const [turn, asks] of plan.turns.entries()) await this.#runTurn(client, people, { plan, turn, asks });
      await client.close();
      return { audit: await auditSession(client, plan, people.posts), posts: people.posts };
    } catch (error) {
      const words = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      this.#findings.push({ offence: "lost", detail: `${plan.id}: ${words}` });
      return { posts: people?.posts ?? [] };
    }
  }

  async #runTurn(
    client: ChaosClient,
    people: People,
    { plan, turn, asks }: { readonly plan: SessionPlan; readonly turn: number; readonly asks: readonly PlannedAsk[] },
  ): Promise<void> {
    const tools = asks.map(({ label }) => ({ name: "bash", args: { command: commandOf(plan, label) } }));
    const message = { id: `${plan.id}-m${turn}`, content: scripted({ tools }, { text: "That was decided." }) };
    await client.post(message, "queue");
    await Promise.all(asks.map((ask) => people.decide(ask)));
    await client.ended(message);
  }
}
