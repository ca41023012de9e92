/** Uploads beside a turn: one at a time, in the background, and all of them waited for before the turn ends. */
import { CancellationScope, log } from "@temporalio/workflow";
import type { TurnKey } from "../contract/steps.ts";
import type { SandboxRoute } from "./sandbox-route.ts";

export class ArtifactUploads {
  readonly #turn: TurnKey;
  readonly #route: SandboxRoute;
  #current: Promise<void> | undefined;
  #again = false;

  constructor(turn: TurnKey, route: SandboxRoute) {
    this.#turn = turn;
    this.#route = route;
  }

  get isBusy(): boolean {
    return this.#current !== undefined;
  }

  /** Asks for an upload of what is new. While one runs, asking again makes it run once more. */
  start(): void {
    this.#again = true;
    this.#current ??= this.#run().finally(() => {
      this.#current = undefined;
    });
  }

  /** Resolves when nothing is left to upload. */
  async settle(): Promise<void> {
    await this.#current;
  }

  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      // Stopping a turn stops its work, not the keeping of what the work has already left.
      await CancellationScope.nonCancellable(() =>
        this.#route.runBeside((activities) =>
          activities.uploadArtifacts.executeWithOptions({ summary: "upload artifacts" }, [this.#turn]),
        ),
      ).catch((error: unknown) => log.error("artifacts were not uploaded", { error: String(error) }));
    }
  }
}
