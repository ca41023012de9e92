/** The worker's runtime: started with its first use, replaced when it has died, grown old or grown large. */
import { LIMITS } from "../../contract/limits.ts";
import type { Platform } from "./platform.ts";
import { Runtime } from "./runtime.ts";

export interface RuntimePoolParts {
  readonly platform: Platform;
  readonly scratchDir: string;
  readonly githubToken: string | undefined;
  /** Sessions that one runtime may keep open between two steps. Default: LIMITS.copilotLiveSessions. */
  readonly liveSessionsMax?: number | undefined;
  /** Default: as old or as large as the limits say. */
  readonly isWorn?: ((runtime: Runtime) => Promise<boolean>) | undefined;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** A runtime in use. */
export interface RuntimeLease extends Disposable {
  readonly runtime: Runtime;
}

export class RuntimePool {
  readonly #parts: RuntimePoolParts;
  #current: Promise<Runtime> | undefined;
  readonly #running = new Set<Runtime>();
  #checkedAt = 0;

  constructor(parts: RuntimePoolParts) {
    this.#parts = parts;
  }

  async take(): Promise<RuntimeLease> {
    // Bounded: the second round has a runtime that was started for it, unless that died in between.
    for (let round = 0; ; round++) {
      this.#current ??= this.#start();
      const starting = this.#current;
      const runtime = await starting.catch((error: unknown) => {
        this.#forget(starting);
        throw error;
      });
      if (!runtime.isLost || round > 0) {
        const use = runtime.use();
        await this.#replaceWorn(starting, runtime);
        return { runtime, [Symbol.dispose]: () => use[Symbol.dispose]() };
      }
      this.#forget(starting);
    }
  }

  async stop(): Promise<void> {
    this.#current = undefined;
    await Promise.all([...this.#running].map((runtime) => runtime.stop()));
  }

  async #start(): Promise<Runtime> {
    const { platform, scratchDir, githubToken, liveSessionsMax = LIMITS.copilotLiveSessions, warn } = this.#parts;
    const program = platform.runtimePath();
    const sdk = await platform.loadSdk();
    const runtime = await Runtime.start({ sdk, program, scratchDir, githubToken, liveSessionsMax });
    this.#running.add(runtime);
    void runtime.ended.then(() => {
      this.#running.delete(runtime);
      if (!runtime.isStopping) warn({ pid: runtime.pid }, "the copilot runtime ended; the next step starts a new one");
    });
    return runtime;
  }

  /** The steps that it is serving, this one among them, are served to their end. */
  async #replaceWorn(starting: Promise<Runtime>, runtime: Runtime): Promise<void> {
    if (Date.now() - this.#checkedAt < LIMITS.copilotRuntimeCheckMs) return;
    this.#checkedAt = Date.now();
    if (!(await (this.#parts.isWorn ?? isWorn)(runtime))) return;
    this.#forget(starting);
    runtime.retire();
  }

  #forget(starting: Promise<Runtime>): void {
    if (this.#current === starting) this.#current = undefined;
  }
}

async function isWorn(runtime: Runtime): Promise<boolean> {
  if (runtime.ageMs > LIMITS.copilotRuntimeAgeMs) return true;
  return (await runtime.residentBytes()) > LIMITS.copilotRuntimeBytesMax;
}
