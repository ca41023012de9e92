/** What a session does for its sandbox besides using it: makes it ahead, keeps its workspace after turns, stops it when it is idle. */
import { CancellationScope, condition, log } from "@temporalio/workflow";
import type { TurnId } from "../contract/ids.ts";
import type { WorkspaceKey } from "./messages.ts";
import type { SandboxRoute } from "./sandbox-route.ts";

export interface SandboxCareOptions {
  readonly key: WorkspaceKey;
  readonly route: SandboxRoute;
  /** Whether a sandbox has been asked for and may be there. */
  readonly hasSandbox: () => boolean;
  readonly setHasSandbox: (has: boolean) => void;
}

export class SandboxCare {
  readonly #options: SandboxCareOptions;
  #making: Promise<void> | undefined;

  constructor(options: SandboxCareOptions) {
    this.#options = options;
  }

  /** Asked for once, beside a model call. A sandbox that is lost later is made anew by the tool that misses it. */
  start(): void {
    const { key, route, hasSandbox, setHasSandbox } = this.#options;
    if (hasSandbox()) return;
    this.#making ??= CancellationScope.nonCancellable(() =>
      route.runBeside((activities) =>
        activities.ensureSandbox.executeWithOptions({ summary: "make the sandbox" }, [key]),
      ),
    )
      .catch((error: unknown) => log.warn("the sandbox was not made ahead", { error: String(error) }))
      .then(() => {
        this.#making = undefined;
        setHasSandbox(true);
      });
  }

  /** Resolves when the making of the sandbox has ended. */
  async ready(): Promise<void> {
    await this.#making;
  }

  /** Keeps the workspace as a turn has left it. */
  async keep(turnId: TurnId): Promise<void> {
    const { key, route } = this.#options;
    await CancellationScope.nonCancellable(() =>
      route.runBeside((activities) =>
        activities.snapshotWorkspace.executeWithOptions({ summary: "snapshot the workspace" }, [{ ...key, turnId }]),
      ),
    ).catch((error: unknown) => log.warn("the workspace was not kept", { error: String(error) }));
  }

  /** Waits until there is something to do; meanwhile an idle sandbox is stopped after that long. */
  async untilWork(hasWork: () => boolean, idleMs: number): Promise<void> {
    const { key, route, hasSandbox, setHasSandbox } = this.#options;
    let waitMs = idleMs;
    while (hasSandbox()) {
      if (await condition(hasWork, waitMs)) return;
      const stop = { ...key, idleMs };
      const { againInMs } = await route
        .runBeside((activities) =>
          activities.stopIdleSandbox.executeWithOptions({ summary: "stop the idle sandbox" }, [stop]),
        )
        .catch((error: unknown) => {
          log.warn("the idle sandbox was not stopped", { error: String(error) });
          return { againInMs: idleMs };
        });
      if (againInMs === 0) setHasSandbox(false);
      else waitMs = againInMs;
    }
    await condition(hasWork);
  }
}
