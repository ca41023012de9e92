/** What a worker says of itself while it lives: its tools, its backends, and whether those can be used as they are set up. */
import type { BackendEntry, SteppedBackend } from "../backends/backend.ts";
import type { AnnouncedTool, BackendValidation, ModelInfo, WorkerAnnouncement } from "../contract/backends.ts";
import type { Config } from "../contract/config.ts";
import { LIMITS } from "../contract/limits.ts";
import type { AnnouncedSandbox } from "../contract/sandbox.ts";
import type { Database } from "../store/database.ts";
import { seeHost } from "../store/sandboxes.ts";
import { announcedWorkers, announceWorker, withdrawWorker } from "../store/workers.ts";
import type { Tool } from "../tools/tool.ts";

export interface AnnouncedBackend {
  readonly entry: BackendEntry;
  readonly backend: SteppedBackend;
}

export interface AnnouncementDeps {
  readonly database: Database;
  readonly id: string;
  readonly config: Config;
  readonly tools: readonly AnnouncedTool[];
  /** Their names. */
  readonly secrets?: readonly string[];
  readonly backends: readonly AnnouncedBackend[];
  readonly sandboxes: () => readonly AnnouncedSandbox[];
  /** The host that it runs on, as its sandboxes' rows name it. */
  readonly host: string;
  /** Whether the worker of an id is known to be dead. */
  readonly isGone: (id: string) => boolean;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** Milliseconds, so that a test need not wait. */
export interface AnnouncementTimes {
  readonly announceEveryMs: number;
  readonly validateAfterMs: number;
  readonly validateEveryMs: number;
  readonly validateTimeoutMs: number;
}

type Tried = WorkerAnnouncement["backends"][number];

/** Begins at once and in the background: nothing here delays or ends the worker. Disposing it takes the announcement back. */
export class Announcing implements AsyncDisposable {
  readonly #deps: AnnouncementDeps;
  readonly #times: AnnouncementTimes;
  readonly #renewal: NodeJS.Timeout;
  #validation: NodeJS.Timeout;
  #backends: readonly Tried[];
  /** The writes, one after another. */
  #written: Promise<void>;
  #isOver = false;

  constructor(deps: AnnouncementDeps, times: AnnouncementTimes = LIMITS) {
    this.#deps = deps;
    this.#times = times;
    this.#backends = deps.backends.map(({ entry }) => ({
      name: entry.name,
      defaultModel: entry.defaultModel(deps.config),
      models: [],
      validation: null,
    }));
    this.#written = this.#withdrawDead();
    this.#announce();
    this.#renewal = setInterval(() => this.#announce(), times.announceEveryMs).unref();
    this.#validation = this.#validateIn(times.validateAfterMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    clearInterval(this.#renewal);
    clearTimeout(this.#validation);
    await this.#written;
    await this.#quietly("withdrawn", () => withdrawWorker(this.#deps.database, this.#deps.id));
  }

  #announce(): void {
    const { database, id, tools, sandboxes, host, secrets } = this.#deps;
    this.#written = this.#written.then(() =>
      this.#isOver
        ? undefined
        : this.#quietly("announced", async () => {
            const said = {
              host,
              ...(secrets && { secrets: [...secrets] }),
              tools: [...tools],
              backends: [...this.#backends],
              sandboxes: [...sandboxes()],
            };
            await announceWorker(database, { id, announcement: said });
            await seeHost(database, host);
          }),
    );
  }

  /** Workers of this host that were killed: their rows would be believed for some seconds more. */
  async #withdrawDead(): Promise<void> {
    const { database, isGone } = this.#deps;
    await this.#quietly("withdrawn", async () => {
      for (const id of (await announcedWorkers(database)).filter(isGone)) await withdrawWorker(database, id);
    });
  }

  #validateIn(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => void this.#validate(), delayMs).unref();
  }

  /** Each backend by itself, so that a slow one hides no other; none is tried twice at once. */
  async #validate(): Promise<void> {
    await Promise.all(
      this.#deps.backends.map(async (announced) => {
        const { validation, models } = await tryBackend(announced.backend, this.#times.validateTimeoutMs);
        const { name } = announced.entry;
        this.#backends = this.#backends.map((one) => (one.name === name ? { ...one, validation, models } : one));
        this.#announce();
      }),
    );
    if (!this.#isOver) this.#validation = this.#validateIn(this.#times.validateEveryMs);
  }

  async #quietly(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#deps.warn({ err: error }, `this worker was not ${what}`);
    }
  }
}

/** The tools, each with where it comes from. */
export function announcedTools(tools: readonly Tool[], sources: ReadonlyMap<string, string>): readonly AnnouncedTool[] {
  return tools.map(({ name, description, changesWorld }) => ({
    name,
    description,
    source: sources.get(name) ?? "built-in",
    changesWorld,
  }));
}

async function tryBackend(
  backend: SteppedBackend,
  timeoutMs: number,
): Promise<{ readonly validation: BackendValidation; readonly models: ModelInfo[] }> {
  try {
    const { valid, errors } = await within(backend.validate(), timeoutMs);
    const models = valid ? await within(backend.listModels(), timeoutMs).catch(() => []) : [];
    const validation = { valid, errors: [...errors], checkedAt: Date.now() };
    return { validation, models: models.slice(0, LIMITS.modelsListedMax) };
  } catch (error) {
    // A backend answers, whatever it finds: this one has a fault, or hangs.
    const message = error instanceof Error ? error.message : String(error);
    const errors = [{ code: "PROVIDER_ERROR", message }];
    return { validation: { valid: false, errors, checkedAt: Date.now() }, models: [] };
  }
}

async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not answer within ${timeoutMs} ms`)), timeoutMs);
  });
  return await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
