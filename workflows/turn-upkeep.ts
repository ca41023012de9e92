/** What a turn's end waits for, and for how long: the ending of what a stop has left, and uploads. */
import { condition, log } from "@temporalio/workflow";
import type { SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { ArtifactUploads } from "./artifact-uploads.ts";
import type { SandboxRoute } from "./sandbox-route.ts";
import type { SessionState } from "./session-state.ts";

export interface TurnUpkeepOptions {
  readonly sessionId: SessionId;
  readonly route: SandboxRoute;
  readonly state: () => SessionState;
  /** Runs that began before 0.4 waited for all of it; their histories are replayed so. */
  readonly isBeside: boolean;
}

export class TurnUpkeep {
  readonly #options: TurnUpkeepOptions;
  /** What is done for turns that have ended without it. */
  readonly #beside = new Set<Promise<void>>();

  constructor(options: TurnUpkeepOptions) {
    this.#options = options;
  }

  /** Whether something goes on for turns that have ended. */
  get isBusy(): boolean {
    return this.#beside.size > 0;
  }

  /** Ends the commands of a stopped turn. Where that hardly succeeds, it is gone on with beside the next. */
  async stopCalls(turnId: TurnId): Promise<void> {
    const { sessionId, route, isBeside } = this.#options;
    const key = { sessionId, turnId };
    const stopping = route
      .runBeside((activities) => activities.stopCalls.executeWithOptions({ summary: "end what still runs" }, [key]))
      .then(
        () => undefined,
        (error: unknown) => log.warn("what a stopped turn left running was not ended", { error: String(error) }),
      );
    if (!isBeside) return await stopping;
    this.#goOnBeside(stopping);
    await condition(() => !this.#beside.has(stopping), LIMITS.upkeepWaitMs);
  }

  /** Before a new run in mid-turn: what is not uploaded by then, or by a stop, is found again at the turn's end. */
  async settleSoon(uploads: ArtifactUploads): Promise<void> {
    if (!this.#options.isBeside) return await uploads.settle();
    if (!uploads.isBusy) return;
    const isStopped = (): boolean => this.#options.state().turn?.stop !== undefined;
    await condition(() => !uploads.isBusy || isStopped(), LIMITS.upkeepWaitMs);
  }

  /**
   * Before the turn's end is told: what it has made is uploaded. Once somebody waits behind it, it is not waited for much longer
   * and goes on beside. A session that closes waits for all of it: later there is nothing to upload.
   */
  async settle(uploads: ArtifactUploads): Promise<void> {
    if (!this.#options.isBeside) return await uploads.settle();
    await condition(() => !uploads.isBusy || this.#isAwaited());
    if (uploads.isBusy) await condition(() => !uploads.isBusy, LIMITS.upkeepWaitMs);
    if (uploads.isBusy) this.#goOnBeside(uploads.settle());
  }

  #isAwaited(): boolean {
    const { closing, turn, queue } = this.#options.state();
    return !closing && (turn?.stop !== undefined || queue.length > 0);
  }

  #goOnBeside(work: Promise<void>): void {
    this.#beside.add(work);
    void work.finally(() => this.#beside.delete(work));
  }
}
