/** Sandboxes of docker: containers of a real engine, or of the stand-in where there is none; killed by it, looked at when dead. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { buffer } from "node:stream/consumers";
import type Docker from "dockerode";
import { SandboxId } from "../../contract/ids.ts";
import { LABELS } from "../../sandbox/docker-container.ts";
import { connectDocker } from "../../sandbox/docker-engine.ts";
import { HOST_IMAGE, startTestEngine } from "../../test/support/docker-engine.ts";
import { STAND_IN_IMAGE, startDockerStandIn } from "../../test/support/docker-stand-in.ts";
import { whyNoStandIn } from "../../test/support/docker-stand-in-container.ts";
import type { FoundVictims } from "./providers.ts";
import { STARTS_FILE } from "./script.ts";
import { type KilledSandbox, linesOf } from "./victims.ts";

const BLOCK = 512;
const SIZE_AT = 124;
const SIZE_DIGITS = 11;
/** Of a container's id, as the stand-in names its folder. */
const FOLDER_DIGITS = 12;

export interface Engine {
  /** As DOCKER_HOST takes it. */
  readonly engine: string;
  readonly image: string;
  readonly words: string;
  /** Of a container that is dead; undefined when it has been removed already. */
  starts(container: Docker.Container): Promise<readonly string[] | undefined>;
  close(): Promise<void>;
}

/** A real engine when one answers or can be started, else the stand-in. Throws an Error in words where neither can be. */
export async function startEngine(): Promise<Engine> {
  const started = await startTestEngine();
  if (started.engine !== undefined) return { ...started, image: HOST_IMAGE, starts: startsIn };
  const problem = whyNoStandIn();
  if (problem !== undefined) throw new Error(`${started.reason}; ${problem}`);
  return await startStandIn(started.reason);
}

/** `reason`: why there is no real one. */
export async function startStandIn(reason: string): Promise<Engine> {
  const { engine, close } = await startDockerStandIn();
  const folder = path.dirname(engine.replace("unix://", ""));
  return {
    engine,
    image: STAND_IN_IMAGE,
    words: `the stand-in of an engine (${reason})`,
    close,
    async starts({ id }) {
      const root = path.join(folder, id.slice(0, FOLDER_DIGITS));
      const file = path.join(root, "workspace", STARTS_FILE);
      if (existsSync(file)) return linesOf(readFileSync(file, "utf8"));
      return existsSync(root) ? [] : undefined;
    },
  };
}

export async function startDocker(start: () => Promise<Engine> = startEngine): Promise<FoundVictims> {
  const { engine, image, words, starts, close } = await start();
  const { docker } = await connectDocker(engine);
  // An engine that was there before may have sandboxes of somebody else.
  const before = new Set((await containers(docker)).map(({ Id }) => Id));
  const ours = async (all = false): Promise<readonly Docker.ContainerInfo[]> =>
    (await containers(docker, all)).filter(({ Id }) => !before.has(Id));
  return {
    environment: { DOCKER_HOST: engine, PERDURE_SANDBOX_IMAGE: image },
    of: () => ({
      description: words,
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
        return { id, from, until: Date.now(), starts: await starts(container) } satisfies KilledSandbox;
      },
      strays: async () => [],
      [Symbol.asyncDispose]: async () => undefined,
    }),
    [Symbol.asyncDispose]: async () => {
      for (const { Id } of await ours(true)) await docker.getContainer(Id).remove({ force: true });
      await close();
    },
  };
}

async function containers(docker: Docker, all = false): Promise<readonly Docker.ContainerInfo[]> {
  return (await docker.listContainers({ all })).filter((one) => idOf(one) !== undefined);
}

function idOf({ Labels }: Docker.ContainerInfo): SandboxId | undefined {
  return SandboxId.safeParse(Labels[LABELS.sandbox]).data;
}

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
