/** The sessions of a soak, and the samples that are taken beside them. */
import { setTimeout as delay } from "node:timers/promises";
import type { SandboxProviderName } from "../../contract/sandbox.ts";
import { startModelEndpoint } from "../../test/support/model-endpoint.ts";
import { type SessionClient, scripted, startWorld, type World } from "../../test/support/world.ts";
import { judge, type Line } from "./lines.ts";
import { RULES, type Sample, takeSample } from "./samples.ts";

export interface SoakOptions {
  readonly forMs: number;
  readonly sessions: number;
  readonly sandbox: SandboxProviderName;
  readonly tell: (line: string) => void;
}

export interface SoakReport {
  readonly lines: readonly Line[];
  readonly samples: number;
  /** Sessions that were made, used, closed and deleted. */
  readonly lives: number;
  readonly messages: number;
  /** Requests and turns that did not end as they must. */
  readonly faults: readonly string[];
}

/** Of the sessions, those that only idle, and are interrupted and looked at all the time. */
const IDLE_SHARE = 0.25;
/** Short, so that sandboxes are stopped and come back within every life. */
const SANDBOX_IDLE_MS = 3_000;
const REST_MS = { minMs: 1_000, maxMs: 8_000 };
const POKE_EVERY_MS = 2_000;
const TURNS = 3;
const TURN_ENDS_MS = 60_000;
const SAMPLES = 120;
const SAMPLE_EVERY_MIN_MS = 2_000;

export async function runSoak(options: SoakOptions): Promise<SoakReport> {
  await using model = await startModelEndpoint();
  await using world = await startWorld({ modelUrl: model.url, sandbox: options.sandbox });
  return await new Soak(world, options).run();
}

class Soak {
  readonly #world: World;
  readonly #options: SoakOptions;
  readonly #samples: Sample[] = [];
  readonly #faults: string[] = [];
  readonly #over = new AbortController();
  #lives = 0;
  #messages = 0;

  constructor(world: World, options: SoakOptions) {
    this.#world = world;
    this.#options = options;
  }

  async run(): Promise<SoakReport> {
    const { sessions, forMs } = this.#options;
    const idle = Math.max(1, Math.round(sessions * IDLE_SHARE));
    const timer = setTimeout(() => this.#over.abort(), forMs);
    const living = [
      ...Array.from({ length: idle }, (_, number) => this.#idle(`idle-${number}`)),
      ...Array.from({ length: sessions - idle }, (_, number) => this.#live(number)),
    ];
    try {
      await Promise.all([this.#sample(), ...living]);
    } finally {
      clearTimeout(timer);
    }
    const lines = RULES.map((rule) =>
      judge(
        rule,
        this.#samples.map((sample) => sample[rule.key] ?? 0),
      ),
    );
    return {
      lines,
      samples: this.#samples.length,
      lives: this.#lives,
      messages: this.#messages,
      faults: this.#faults,
    };
  }

  get #isOver(): boolean {
    return this.#over.signal.aborted;
  }

  async #sample(): Promise<void> {
    const { forMs, tell } = this.#options;
    const everyMs = Math.max(SAMPLE_EVERY_MIN_MS, forMs / SAMPLES);
    while (!this.#isOver) {
      const sample = await takeSample(this.#world);
      this.#samples.push(sample);
      if (this.#samples.length % 20 === 1)
        tell(
          `${this.#lives} lives, worker ${Math.round((sample["memory worker"] ?? 0) / 1e6)} MB, longest history ${sample["longest history"]}, ${sample["rows"]} rows`,
        );
      await this.#rest(everyMs);
    }
  }

  /** One life after another. */
  async #live(number: number): Promise<void> {
    for (let life = 0; !this.#isOver; life++) {
      const id = `soak-${number}-${life}`;
      await this.#notingFaults(id, async () => {
        const session = await this.#world.createSession({
          id,
          sandbox: { provider: this.#options.sandbox, idleTimeoutMs: SANDBOX_IDLE_MS },
        });
        for (let turn = 0; turn < TURNS && !this.#isOver; turn++) {
          await this.#turn(session, work(id, turn));
          await this.#rest(REST_MS.minMs + Math.random() * (REST_MS.maxMs - REST_MS.minMs));
        }
        await session.close();
        await this.#remove(id);
        this.#lives += 1;
      });
    }
  }

  /** One that has worked once, and then only hears what changes nothing. */
  async #idle(id: string): Promise<void> {
    await this.#notingFaults(id, async () => {
      const session = await this.#world.createSession({
        id,
        sandbox: { provider: this.#options.sandbox, idleTimeoutMs: SANDBOX_IDLE_MS },
      });
      await this.#turn(session, work(id, 0));
      while (!this.#isOver) {
        await session.interrupt();
        await this.#world.request("GET", `/v1/sessions/${id}`);
        await this.#rest(POKE_EVERY_MS);
      }
      await session.close();
      await this.#remove(id);
    });
  }

  async #turn(session: SessionClient, content: string): Promise<void> {
    this.#messages += 1;
    const { messageId } = await session.post(content);
    for (const until = Date.now() + TURN_ENDS_MS; ; ) {
      const log = await session.log();
      const started = log.find((event) => event.type === "turn.started" && event.messageId === messageId);
      const turnId = started?.type === "turn.started" ? started.turnId : undefined;
      const end = log.find(
        (event) =>
          ["turn.completed", "turn.failed", "turn.interrupted"].includes(event.type) &&
          "turnId" in event &&
          event.turnId === turnId,
      );
      if (end?.type === "turn.completed") return;
      if (end) throw new Error(`a turn ended as ${JSON.stringify(end).slice(0, 300)}`);
      if (Date.now() > until) throw new Error(`a turn did not end within ${TURN_ENDS_MS} ms`);
      await delay(200);
    }
  }

  /** Deleting waits for the end of the session's workflow, so the first answer may be that it is not closed yet. */
  async #remove(id: string): Promise<void> {
    for (let tries = 0; ; tries++) {
      const { status, body } = await this.#world.request("DELETE", `/v1/sessions/${id}`);
      if (status < 300 || status === 404) return;
      if (tries >= 20) throw new Error(`DELETE answered ${status}: ${JSON.stringify(body).slice(0, 300)}`);
      await delay(300);
    }
  }

  async #notingFaults(id: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#faults.push(`${id}: ${error instanceof Error ? error.message : String(error)}`);
      await this.#rest(1_000);
    }
  }

  async #rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#over.signal }).catch(() => undefined);
  }
}

/** Steps that write, print, change and leave an artifact, so that everything that is kept is made. */
function work(id: string, turn: number): string {
  const command = `for i in 1 2 3 4 5; do echo "${id} line $i"; sleep 0.05; done; head -c 20000 /dev/urandom | base64 > data-${turn}.txt`;
  return scripted(
    { tools: [{ name: "write_file", args: { path: `notes/${turn}.txt`, content: id.repeat(50) } }] },
    { tools: [{ name: "bash", args: { command } }] },
    { tools: [{ name: "write_file", args: { path: "outputs/report.txt", content: `${id} ${turn}\n`.repeat(200) } }] },
    { text: "Done with this." },
  );
}
