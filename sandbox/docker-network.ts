/** Containers with an allow-list: a proxy on this host, and a relay in the container's network, which has nothing else. */
import { existsSync, mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import type { SandboxId } from "../contract/ids.ts";
import type { SandboxSpec } from "../contract/sandbox.ts";
import { readDecisions } from "./egress/decisions.ts";
import { startEgress, stopEgress } from "./egress/egress.ts";
import { proxyVariables, startContainerRelay, stopContainerRelay } from "./egress/relay.ts";
import type { Sandbox } from "./provider.ts";
import { SandboxError } from "./provider.ts";

export interface DockerNetwork {
  /** Whether sandboxes may have an allow-list here. */
  readonly isThere: boolean;
  /** Throws SandboxError `failed` for a spec that asks for a network that cannot be had. */
  check(spec: SandboxSpec): void;
  /** Sees to it that the proxy and the relay of a running container are there. `pid`: its first process on this host. */
  join(id: SandboxId, allow: readonly string[], pid: number): Promise<JoinedNetwork>;
  /** Ends both and removes what they kept. */
  remove(id: SandboxId): Promise<void>;
}

export interface JoinedNetwork {
  readonly variables: Readonly<Record<string, string>>;
  readonly decisions: Sandbox["networkDecisions"];
}

export interface DockerNetworkOptions {
  readonly engine?: string;
  readonly networkFolder?: string;
}

/** Entering a container's network takes root, `nsenter`, and an engine on this host. */
export function createDockerNetwork({ engine, networkFolder }: DockerNetworkOptions): DockerNetwork {
  const missing = whatIsMissing(engine, networkFolder);
  const folderOf = (id: SandboxId): string => path.join(path.resolve(networkFolder ?? ""), id);
  return {
    isThere: missing === undefined,
    check(spec) {
      if (spec.network === undefined || missing === undefined) return;
      throw new SandboxError("failed", `containers of this worker have no network: an allow-list needs ${missing}`);
    },
    async join(id, allow, pid) {
      if (missing !== undefined) throw new SandboxError("failed", `the sandbox's allow-list needs ${missing}`);
      const folder = folderOf(id);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      await startEgress({ folder, allow });
      await startContainerRelay({ folder, pid });
      return { variables: proxyVariables(), decisions: async (from) => readDecisions(folder, from) };
    },
    async remove(id) {
      if (missing !== undefined || !existsSync(folderOf(id))) return;
      await stopContainerRelay(folderOf(id));
      await stopEgress(folderOf(id));
      await rm(folderOf(id), { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function whatIsMissing(engine: string | undefined, networkFolder: string | undefined): string | undefined {
  if (networkFolder === undefined) return "a folder for the proxies";
  if (/^(tcp|https?):/.test(engine ?? process.env["DOCKER_HOST"] ?? "")) return "an engine on the worker's own host";
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "a worker that runs as root on Linux";
  const folders = (process.env["PATH"] ?? "").split(path.delimiter);
  if (!folders.some((folder) => existsSync(path.join(folder, "nsenter")))) return "the program nsenter";
  return undefined;
}
