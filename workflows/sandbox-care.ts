/**
 * What a session does for its sandbox besides using it: makes it ahead, keeps its workspace after turns, stops it when it is
 * idle. All of it goes on beside the session's turns: no message waits for it.
 */
import { CancellationScope, condition, log } from "@temporalio/workflow";
import type { TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { WorkspaceKey } from "./messages.ts";
import type { SandboxRoute } from "./sandbox-route.ts";
import type { SessionState, StateChange } from "./session-state.ts";

export interface SandboxCareOptions {
  readonly key: WorkspaceKey;
  readonly route: SandboxRoute;
  /** Of `state`: `hasSandbox`, whether a sandbox has been asked for and may be there; `toKeep` and `idleLookAt`. */
  readonly state: () => SessionState;
  readonly change: (change: StateChange) => void;
  /** Runs that began before 0.4 waited for their sandboxes' care; their histories are replayed so. */
  readonly isBeside: boolean;
}

export class SandboxCare {
  readonly #options: SandboxCareOptions;
  #making: Promise<void> | undefined;
  #keeping: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: SandboxCareOptions) {
    this.#options = options;
  }

  /** Whether something goes on that a new run would have to begin again. */
  get isBusy(): boolean {
    return this.isMaking || this.#keeping !== undefined || this.#stopping !== undefined;
  }

  get isMaking(): boolean {
    return this.#making !== undefined;
  }

  /** Asked for once, beside a model call. A sandbox that is lost later is made anew by the tool that misses it. */
  start(): void {
    const { key, route, state, change } = this.#options;
    if (state().hasSandbox) return;
    this.#making ??= CancellationScope.nonCancellable(() =>
      route.runBeside((activities) =>
        activities.ensureSandbox.executeWithOptions({ summary: "make the sandbox" }, [key]),
      ),
    )
      .catch((error: unknown) => log.warn("the sandbox was not made ahead", { error: String(error) }))
      .then(() => {
        this.#making = undefined;
        change({ hasSandbox: true });
      });
  }

  /** Resolves when the making of the sandbox has ended. */
  async ready(): Promise<void> {
    await this.#making;
  }

  /** The same, but not for long: whoever ends the session does not wait for a sandbox that hardly comes up. */
  async readyOrLate(): Promise<void> {
    if (!this.#options.isBeside) await this.ready();
    else if (this.isMaking) await condition(() => !this.isMaking, LIMITS.upkeepWaitMs);
  }

  /** Has the workspace kept as a turn has left it. Resolves when others may go on. */
  async keep(turnId: TurnId): Promise<void> {
    this.#options.change({ toKeep: turnId });
    const keeping = this.goOn();
    if (!this.#options.isBeside) await keeping;
  }

  /** Keeps what is still to be kept, one snapshot at a time; the turns that end meanwhile share the next one. */
  goOn(): Promise<void> {
    if (this.#options.state().toKeep === undefined) return Promise.resolve();
    this.#keeping ??= this.#keepAll().then(() => {
      this.#keeping = undefined;
    });
    return this.#keeping;
  }

  async #keepAll(): Promise<void> {
    const { key: of, route, state, change } = this.#options;
    for (let turnId = state().toKeep; turnId !== undefined; turnId = state().toKeep) {
      const key = { ...of, turnId };
      await CancellationScope.nonCancellable(() =>
        route.runBeside((activities) =>
          activities.snapshotWorkspace.executeWithOptions({ summary: "snapshot the workspace" }, [key]),
        ),
      ).catch((error: unknown) => log.warn("the workspace was not kept", { error: String(error) }));
      if (state().toKeep === turnId) change({ toKeep: undefined });
    }
  }

  /** Waits until there is something to do; meanwhile an idle sandbox is stopped after that long. */
  async untilWork(hasWork: () => boolean, idleMs: number): Promise<void> {
    const { state, change, isBeside } = this.#options;
    // A sandbox that comes up after its turn has ended idles, too.
    if (isBeside) await condition(() => hasWork() || !(this.#keeping || this.#making));
    while (state().hasSandbox && !(isBeside && hasWork())) {
      const lookAt = state().idleLookAt ?? Date.now() + idleMs;
      change({ idleLookAt: lookAt });
      if (await condition(hasWork, Math.max(1, lookAt - Date.now()))) return;
      this.#stopping ??= this.#stopIdle(idleMs).then((againInMs) => {
        this.#stopping = undefined;
        if (againInMs === 0) change({ hasSandbox: false, idleLookAt: undefined });
        else change({ idleLookAt: Date.now() + againInMs });
      });
      if (isBeside) await condition(() => hasWork() || !this.#stopping);
      else await this.#stopping;
    }
    await condition(hasWork);
  }

  async #stopIdle(idleMs: number): Promise<number> {
    const { key, route } = this.#options;
    const stop = { ...key, idleMs };
    try {
      const { againInMs } = await route.runBeside((activities) =>
        activities.stopIdleSandbox.executeWithOptions({ summary: "stop the idle sandbox" }, [stop]),
      );
      return againInMs;
    } catch (error) {
      log.warn("the idle sandbox was not stopped", { error: String(error) });
      return this.#options.isBeside ? Math.max(idleMs, LIMITS.idleAgainMs) : idleMs;
    }
  }
}
