/** What a test does to a container from outside: the death of its machine, and of single processes in it. */
import type { CallId, SandboxId } from "../../contract/ids.ts";
import type { DockerProviderOptions } from "../../sandbox/docker.ts";
import { createDockerChannel } from "../../sandbox/docker-channel.ts";
import { containerName } from "../../sandbox/docker-container.ts";
import { connectDocker } from "../../sandbox/docker-engine.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import type { ProviderUnderTest } from "./conformance.ts";

export function killsByDocker(
  options: DockerProviderOptions,
): Required<Pick<ProviderUnderTest, "killSandbox" | "killCommand" | "killSupervisor">> {
  const kill = async (sandbox: Sandbox, callId: CallId, whom: "" | "-"): Promise<void> => {
    await inContainer(options, sandbox.id, `read -r pid rest </perdure/calls/${callId}/go; kill -KILL "${whom}$pid"`);
  };
  return {
    async killSandbox(id: SandboxId) {
      const { docker } = await connectDocker(options.engine);
      await docker.getContainer(containerName(options.owner, id)).kill({ signal: "SIGKILL" });
    },
    killCommand: (sandbox, callId) => kill(sandbox, callId, "-"),
    killSupervisor: (sandbox, callId) => kill(sandbox, callId, ""),
  };
}

/** Runs a script in a sandbox's container behind the provider's back; gives its exit code. */
export async function inContainer(options: DockerProviderOptions, id: SandboxId, script: string): Promise<number> {
  const engine = await connectDocker(options.engine);
  const ran = await createDockerChannel(engine, containerName(options.owner, id)).exec(["sh", "-c", script]);
  return ran.exit;
}
