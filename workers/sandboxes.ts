/** The sandbox providers of a worker: looked at when it starts, as far as that is quick, and the default chosen. */
import { existsSync } from "node:fs";
import path from "node:path";
import type { Config } from "../contract/config.ts";
import { createBubblewrapProvider } from "../sandbox/bubblewrap.ts";
import { type BubblewrapFinding, detectBubblewrap } from "../sandbox/bubblewrap-detect.ts";
import { createDockerProvider } from "../sandbox/docker.ts";
import { detectDocker } from "../sandbox/docker-engine.ts";
import { createLocalProvider } from "../sandbox/local.ts";
import { createModalProvider, detectModal } from "../sandbox/modal.ts";
import { createSandboxProviders, type ProviderEntry, type SandboxProviders } from "../sandbox/registry.ts";
import type { Database } from "../store/database.ts";
import { keepSandboxDefault, keptSandboxDefault } from "../store/sandbox-default.ts";
import { allowedProviders, chooseDefault } from "./sandbox-choice.ts";

export interface SandboxesOptions {
  readonly config: Config;
  /** What this installation is called where several share an engine or an account. */
  readonly owner: string;
  readonly database: Database;
  warn(fields: object, message: string): void;
}

const DOCKER_SOCKET = "/var/run/docker.sock";

export interface WorkerSandboxes {
  readonly sandboxes: SandboxProviders;
  /** Of the default, for the line that says that all is ready. */
  readonly notice: string | undefined;
}

/**
 * What cannot be used is told by its entry, and by the sessions that ask for it.
 * Throws as `chooseDefault` does.
 */
export async function createSandboxes(options: SandboxesOptions): Promise<WorkerSandboxes> {
  const { config, database, warn } = options;
  const root = path.join(config.stateDir, "sandboxes");
  const found = await detectBubblewrap();
  const entries: ProviderEntry[] = [
    { name: "local", provider: createLocalProvider({ root }), reason: "it isolates nothing" },
    bubblewrap(path.join(root, "bubblewrap"), config, found),
    docker(options),
    modal(options),
  ];
  const kept = await keptSandboxDefault(database);
  const isUncertain = !found.works && found.isUncertain === true;
  const { defaultName, notice } = chooseDefault({ entries, config, kept, isUncertain, warn });
  if (defaultName !== kept) await keepSandboxDefault(database, defaultName);
  return { sandboxes: createSandboxProviders(entries, defaultName, allowedProviders(config, defaultName)), notice };
}

function bubblewrap(root: string, { sandbox }: Config, found: BubblewrapFinding): ProviderEntry {
  if (!found.works) return { name: "bubblewrap", provider: undefined, reason: found.reason };
  const { works: _, ...entrance } = found;
  const provider = createBubblewrapProvider({ root, entrance, readOnly: sandbox.readOnly });
  return { name: "bubblewrap", provider, reason: null };
}

/** To ask an engine takes its whole SDK, so a worker that starts only looks whether one is named. */
function docker({ config, owner }: SandboxesOptions): ProviderEntry {
  const isNamed = Boolean(process.env["DOCKER_HOST"]) || existsSync(DOCKER_SOCKET);
  if (!isNamed) {
    const reason = `DOCKER_HOST is not set, and there is no ${DOCKER_SOCKET}`;
    return { name: "docker", provider: undefined, reason };
  }
  const networkFolder = path.join(config.stateDir, "sandboxes", "docker");
  const provider = createDockerProvider({ owner, image: config.sandbox.image, canPull: true, networkFolder });
  return { name: "docker", provider, reason: null };
}

function modal({ config, owner }: SandboxesOptions): ProviderEntry {
  const { tokenId, tokenSecret, serverUrl, app } = config.sandbox.modal;
  const found = detectModal({ tokenId, tokenSecret });
  if (!found.works || tokenId === undefined || tokenSecret === undefined) {
    return { name: "modal", provider: undefined, reason: found.works ? null : found.reason };
  }
  const account = { tokenId, tokenSecret, app, ...(serverUrl !== undefined && { serverUrl }) };
  const provider = createModalProvider({ ...account, owner, image: config.sandbox.image });
  return { name: "modal", provider, reason: null };
}

/** What only an engine itself can say; asked in the background, once the worker is up. */
export async function askEngines(sandboxes: SandboxProviders): Promise<void> {
  if (!sandboxes.entries.some(({ name, provider }) => name === "docker" && provider)) return;
  const found = await detectDocker();
  if (!found.works) sandboxes.unusable("docker", found.reason);
}
