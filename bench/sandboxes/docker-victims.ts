/** Sandboxes of docker: containers of a real engine, killed by it, their files looked at when they are dead. */
import { buffer } from "node:stream/consumers";
import type Docker from "dockerode";
import { SandboxId } from "../../contract/ids.ts";
import { LABELS } from "../../sandbox/docker-container.ts";
import { connectDocker } from "../../sandbox/docker-engine.ts";
import { HOST_IMAGE, startTestEngine } from "../../test/support/docker-engine.ts";
import type { FoundVictims } from "./providers.ts";
import { STARTS_FILE } from "./script.ts";
import { type KilledSandbox, linesOf } from "./victims.ts";

const BLOCK = 512;
const SIZE_AT = 124;
const SIZE_DIGITS = 11;

/** Throws an Error in words where no engine answers and none can be started. */
export async function startDocker(): Promise<FoundVictims> {
  const started = await startTestEngine();
  if (started.engine === undefined) throw new Error(started.reason);
  const { docker } = await connectDocker(started.engine);
  // An engine that was there before may have sandboxes of somebody else.
  const before = new Set((await containers(docker)).map(({ Id }) => Id));
  const ours = async (): Promise<readonly Docker.ContainerInfo[]> =>
    (await containers(docker)).filter(({ Id }) => !before.has(Id));
  return {
    environment: { DOCKER_HOST: started.engine, PERDURE_SANDBOX_IMAGE: HOST_IMAGE },
    of: () => ({
      description: started.words,
      list: async () => (await ours()).flatMap((one) => idOf(one) ?? []),
      async kill(id) {
        const found = (await ours()).find((one) => idOf(one) === id);
        if (!found) return undefined;
        const container = docker.getContainer(found.Id);
        const from = Date.now();
        try {
          await container.kill();
        } catch {
          return undefined; // It has ended meanwhile.
        }
        return { id, from, until: Date.now(), starts: await startsIn(container) } satisfies KilledSandbox;
      },
      strays: async () => [],
      [Symbol.asyncDispose]: async () => undefined,
    }),
    [Symbol.asyncDispose]: async () => {
      const left = await docker.listContainers({ all: true, filters: { label: [LABELS.sandbox] } });
      for (const { Id } of left) {
        if (!before.has(Id)) await docker.getContainer(Id).remove({ force: true });
      }
      await started.close();
    },
  };
}

async function containers(docker: Docker): Promise<readonly Docker.ContainerInfo[]> {
  return await docker.listContainers({ filters: { label: [LABELS.sandbox] } });
}

function idOf({ Labels }: Docker.ContainerInfo): SandboxId | undefined {
  return SandboxId.safeParse(Labels[LABELS.sandbox]).data;
}

/** Of a container that is dead; undefined when it has been removed already. */
async function startsIn(container: Docker.Container): Promise<readonly string[] | undefined> {
  try {
    const tar = await buffer(await container.getArchive({ path: `/workspace/${STARTS_FILE}` }));
    const size = Number.parseInt(tar.toString("latin1", SIZE_AT, SIZE_AT + SIZE_DIGITS), 8);
    return linesOf(tar.toString("utf8", BLOCK, BLOCK + size));
  } catch (thrown) {
    if (!(thrown instanceof Error && "statusCode" in thrown && thrown.statusCode === 404)) throw thrown;
    // No such file, or no such container.
    return await container.inspect().then(
      () => [],
      () => undefined,
    );
  }
}
