/** Kills from outside for providers whose sandboxes are folders and processes of this host. */
import { existsSync, readdirSync } from "node:fs";
import { rename } from "node:fs/promises";
import path from "node:path";
import type { CallId, SandboxId } from "../../contract/ids.ts";
import { readClaim } from "../../sandbox/call-folder.ts";
import { removeTree } from "../../sandbox/host-removal.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import type { ProviderUnderTest } from "./conformance.ts";

type Kills = Required<Pick<ProviderUnderTest, "killSandbox" | "killCommand" | "killSupervisor">>;

export function killsOnHost(root: () => string): Kills {
  const callsOf = (id: SandboxId): string => path.join(root(), id, "calls");
  const killClaimed = (folder: string, sign: 1 | -1): void => {
    const pid = readClaim(folder)?.process?.pid;
    if (pid !== undefined) process.kill(sign * pid, "SIGKILL");
  };
  const callFolder = (sandbox: Sandbox, callId: CallId): string => path.join(callsOf(sandbox.id), callId);
  return {
    // The leader of the command's group is the supervisor, and the claim holds its process id.
    killCommand: async (sandbox, callId) => killClaimed(callFolder(sandbox, callId), -1),
    killSupervisor: async (sandbox, callId) => killClaimed(callFolder(sandbox, callId), 1),
    async killSandbox(id) {
      const calls = callsOf(id);
      for (const name of existsSync(calls) ? readdirSync(calls) : []) killClaimed(path.join(calls, name), -1);
      const doomed = path.join(root(), `.lost-${id}`);
      await rename(path.join(root(), id), doomed);
      await removeTree(doomed);
    },
  };
}
