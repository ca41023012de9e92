/** Whose sandboxes chaos can kill, and what has to be started for that. */
import path from "node:path";
import type { SandboxProviderName } from "../../contract/sandbox.ts";
import type { World } from "../../test/support/world.ts";
import { startDocker } from "./docker-victims.ts";
import { createHostVictims } from "./host-victims.ts";
import { startModal } from "./modal-victims.ts";
import type { SandboxVictims } from "./victims.ts";

export interface FoundVictims extends AsyncDisposable {
  /** What worker and api need in their environment to use the provider. */
  readonly environment: Readonly<Record<string, string>>;
  of(world: World): SandboxVictims;
}

/** Throws an Error in words where that provider cannot be had on this machine. */
export async function findVictims(provider: SandboxProviderName): Promise<FoundVictims> {
  switch (provider) {
    case "local":
      return onHost("sandboxes");
    case "bubblewrap":
      return onHost("sandboxes/bubblewrap");
    case "modal":
      return await startModal();
    case "docker":
      return await startDocker();
  }
}

/** `root`: below the state directory, where the worker has the provider keep them. */
function onHost(root: string): FoundVictims {
  return {
    environment: {},
    of: ({ stateDir, folder }) =>
      createHostVictims({ root: path.join(stateDir, root), graveyard: path.join(folder, "graves") }),
    [Symbol.asyncDispose]: async () => undefined,
  };
}
