/**
 * The provider `docker`: a container per session, from any image that has `sh`, found by its name.
 *
 * The container only idles; commands come in by `exec`, under the same supervisor as everywhere (`sandbox/remote`). A container
 * that does not run is a lost sandbox: nobody starts it again, as its commands ended without a record.
 */
import type Docker from "dockerode";
import { SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxCapabilities, SandboxSpec } from "../contract/sandbox.ts";
import { createDockerChannel } from "./docker-channel.ts";
import { containerName, containerOptions, LABELS, WORKSPACE } from "./docker-container.ts";
import { connectDocker, type DockerEngine, DockerError } from "./docker-engine.ts";
import { createDockerNetwork, type DockerNetwork } from "./docker-network.ts";
import { snapshotContainer } from "./docker-snapshot.ts";
import { endDockerTerminal, openDockerTerminal } from "./docker-terminal.ts";
import { type DockerWatch, DockerWatches } from "./docker-watch.ts";
import type { ListedSandbox, Sandbox, SandboxProvider } from "./provider.ts";
import { SandboxError } from "./provider.ts";
import { createRemoteSandbox, REMOTE_STATE } from "./remote/remote-sandbox.ts";
import { trimRemoteCalls, turns } from "./remote/trim-remote-calls.ts";

export interface DockerProviderOptions {
  /** `unix:///path` or `tcp://host:port`; default: what DOCKER_HOST names, else the default socket. */
  readonly engine?: string;
  /** Names this installation: it adopts, lists and removes only its own containers. Letters, digits, `_`, `.` or `-`. */
  readonly owner: string;
  /** Of a sandbox whose spec names none. */
  readonly image?: string;
  /** Whether an image that the engine has not may be fetched by it. Default: no. */
  readonly canPull?: boolean;
  /** A folder of this host for what sandboxes with an allow-list need; without it they are refused. */
  readonly networkFolder?: string;
  /** Of the engine's disk, where that is on this host; when less is free, sandboxes that fill it are ended. Default: LIMITS.hostFreeMiB. */
  readonly hostFreeMiB?: number;
}

const IMAGE_DEFAULT = "debian:12";
const OWNER = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const TRIES = 20;
const AGAIN_MS = 100;

/** No request is made before the provider is used. Throws SandboxError `failed` for an owner that no name can hold. */
export function createDockerProvider(options: DockerProviderOptions): SandboxProvider {
  if (!OWNER.test(options.owner)) {
    throw new SandboxError("failed", "expected an owner of 1 to 64 letters, digits, _, . or -");
  }
  const engine = lazily(() => connectDocker(options.engine));
  const network = createDockerNetwork(options);
  const watches = new DockerWatches();
  const deps = async (): Promise<Deps> => ({ engine: await engine(), network, watches, options });
  const rounds = turns();
  return {
    name: "docker",
    capabilities: capabilitiesOf(options, network),
    async open(id, spec = {}, from) {
      containerName(options.owner, id);
      const known = await deps();
      const image = from?.image ?? spec.image ?? options.image ?? IMAGE_DEFAULT;
      return sandboxIn(known, id, await openContainer(known, { id, spec, image }));
    },
    async find(id) {
      const known = await deps();
      const found = await inspect(known.engine, containerName(options.owner, id));
      return found && isUp(found) ? sandboxIn(known, id, found) : undefined;
    },
    async remove(id) {
      const known = await deps();
      await removeContainer(known.engine, containerName(options.owner, id));
      await network.remove(id);
    },
    list: async () => listContainers(await deps()),
    async tidy(isCommitted) {
      const known = await deps();
      // So many in one go, and others the next time.
      for (const { id } of rounds(await listContainers(known))) {
        const found = await inspect(known.engine, containerName(options.owner, id));
        if (!found || !isUp(found)) continue;
        // Also of those that nobody has used since this process began.
        watchOf(known, found);
        await trimRemoteCalls(createDockerChannel(known.engine, found.Id), REMOTE_STATE, isCommitted);
      }
    },
  };
}

interface Deps {
  readonly engine: DockerEngine;
  readonly network: DockerNetwork;
  readonly watches: DockerWatches;
  readonly options: DockerProviderOptions;
}

type Container = Docker.ContainerInspectInfo;

function capabilitiesOf({ engine }: DockerProviderOptions, network: DockerNetwork): SandboxCapabilities {
  return {
    isolation: "container",
    memory: "cgroup",
    cpu: "cgroup",
    processes: "cgroup",
    disk: "watched",
    network: network.isThere ? "allow-list" : "none",
    images: true,
    terminal: true,
    tunnels: false,
    snapshots: "provider",
    hostBound: !/^(tcp|https?):/.test(engine ?? process.env["DOCKER_HOST"] ?? ""),
  };
}

async function sandboxIn(deps: Deps, id: SandboxId, container: Container): Promise<Sandbox> {
  const { engine, network } = deps;
  const allow = allowedHosts(container);
  const egress = allow && (await network.join(id, allow, container.State.Pid));
  const sandbox = createRemoteSandbox({
    id,
    channel: createDockerChannel(engine, container.Id),
    workspace: WORKSPACE,
    ...(egress && { environment: egress.variables }),
    extras: {
      ...(egress && { networkDecisions: egress.decisions }),
      snapshotImage: () => snapshotContainer(engine, { id, container: container.Id }),
      openTerminal: (wanted) => openDockerTerminal(engine, container.Id, wanted),
      endTerminal: (mark) => endDockerTerminal(engine, container.Id, mark),
    },
  });
  return watchOf(deps, container).over(sandbox);
}

function watchOf({ engine, watches, options }: Deps, container: Container): DockerWatch {
  const diskMiB = Number(container.Config.Labels[LABELS.diskMiB]) || LIMITS.sandboxDiskMiB;
  return watches.watch(engine, container, { diskMiB, freeMiB: options.hostFreeMiB ?? LIMITS.hostFreeMiB });
}

function allowedHosts({ Config }: Container): readonly string[] | undefined {
  const allow: unknown = JSON.parse(Config.Labels[LABELS.network] ?? "null");
  return Array.isArray(allow) ? allow.filter((host) => typeof host === "string") : undefined;
}

interface Wanted {
  readonly id: SandboxId;
  readonly spec: SandboxSpec;
  readonly image: string;
}

/** Makes it, or adopts the one that is there; others may be doing the same at this moment. */
async function openContainer(deps: Deps, wanted: Wanted): Promise<Container> {
  const { engine, options } = deps;
  const name = containerName(options.owner, wanted.id);
  for (let tries = TRIES; tries > 0; tries--) {
    const there = await inspect(engine, name);
    if (there === undefined) await createContainer(deps, wanted);
    else if (isUp(there)) return there;
    else if (there.State.Status === "created") await startContainer(engine, there.Id);
    else if (there.State.Status === "removing") await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    else if (there.State.Paused) throw new SandboxError("failed", "the sandbox's container is paused");
    else {
      // By its id: a new one may have its name by now.
      await removeContainer(engine, there.Id);
      await deps.network.remove(wanted.id);
    }
  }
  throw new SandboxError("failed", "the sandbox's container ends as soon as it is started");
}

async function createContainer({ engine, network, options }: Deps, { id, spec, image }: Wanted): Promise<void> {
  network.check(spec);
  const wish = { owner: options.owner, id, image, spec, cores: await coresOf(engine, spec) };
  const create = (): Promise<unknown> =>
    engine.call("make the container", (docker) => docker.createContainer(containerOptions(wish)));
  try {
    await create();
  } catch (thrown) {
    if (!(thrown instanceof DockerError)) throw thrown;
    if (thrown.status === 409) return; // Somebody else made it.
    if (thrown.status !== 404)
      throw new SandboxError("failed", `no container could be made: ${thrown.said}`, { cause: thrown });
    if (!options.canPull) throw missingImage(image);
    await pull(engine, image);
    await create();
  }
}

/** Of the engine's host; asked for only where it matters. */
async function coresOf(engine: DockerEngine, { cpu }: SandboxSpec): Promise<number> {
  if (cpu === undefined) return 1;
  const info: { readonly NCPU?: number } = await engine.call("tell what it is", (docker) => docker.info());
  return info.NCPU ?? 1;
}

function missingImage(image: string): SandboxError {
  return new SandboxError(
    "failed",
    `the Docker engine has no image ${image}: fetch it there with \`docker pull ${image}\``,
  );
}

async function pull(engine: DockerEngine, image: string): Promise<void> {
  try {
    const progress = await engine.call("fetch the image", (docker) => docker.pull(image));
    await engine.call(
      "fetch the image",
      (docker) =>
        new Promise<void>((resolve, reject) => {
          docker.modem.followProgress(progress, (error) => (error ? reject(error) : resolve()));
        }),
    );
  } catch (cause) {
    throw cause instanceof DockerError ? missingImage(image) : cause;
  }
}

async function startContainer(engine: DockerEngine, container: string): Promise<void> {
  try {
    await engine.call("start the container", (docker) => docker.getContainer(container).start());
  } catch (thrown) {
    if (!(thrown instanceof DockerError)) throw thrown;
    if (thrown.status === 304 || thrown.status === 404) return; // Started or removed by somebody else.
    const gone = await inspect(engine, container);
    if (gone === undefined || isUp(gone)) return;
    await removeContainer(engine, container);
    const words = /"sh"|executable file not found/.test(thrown.said) ? "its image has no `sh`" : thrown.said;
    throw new SandboxError("failed", `the sandbox's container could not be started: ${words}`, { cause: thrown });
  }
}

async function removeContainer(engine: DockerEngine, container: string): Promise<void> {
  for (let tries = TRIES; tries > 0; tries--) {
    try {
      await engine.call("remove the container", (docker) =>
        docker.getContainer(container).remove({ force: true, v: true }),
      );
    } catch (thrown) {
      if (thrown instanceof DockerError && thrown.status === 404) return;
      if (!(thrown instanceof DockerError && thrown.status === 409)) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS)); // Somebody else is removing it.
    }
  }
}

async function listContainers({ engine, options }: Deps): Promise<readonly ListedSandbox[]> {
  const filters = { label: [`${LABELS.owner}=${options.owner}`] };
  const all = await engine.call("list containers", (docker) => docker.listContainers({ all: true, filters }));
  return all.flatMap(({ Labels, Created, State }) => {
    const id = SandboxId.safeParse(Labels[LABELS.sandbox]);
    if (!id.success || State === "removing") return [];
    return [{ id: id.data, madeAt: Number(Labels[LABELS.madeAt]) || Created * 1_000 }];
  });
}

async function inspect(engine: DockerEngine, name: string): Promise<Container | undefined> {
  try {
    return await engine.call("tell of the container", (docker) => docker.getContainer(name).inspect());
  } catch (thrown) {
    if (thrown instanceof DockerError && thrown.status === 404) return undefined;
    throw thrown;
  }
}

function isUp({ State }: Container): boolean {
  return State.Running && !State.Paused && !State.Restarting && !State.Dead;
}

function lazily<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
