/** The sandbox providers of a worker: each looked at once, when it starts, and the default chosen. */
import path from "node:path";
import type { Config } from "../contract/config.ts";
import type { SandboxProviderName } from "../contract/sandbox.ts";
import { createLocalProvider } from "../sandbox/local.ts";
import { createSandboxProviders, type ProviderEntry, type SandboxProviders } from "../sandbox/registry.ts";

export interface SandboxesOptions {
  readonly config: Config;
  /** What this installation is called where several share an engine or an account. */
  readonly owner: string;
  warn(fields: object, message: string): void;
}

/** Never fails: what cannot be used is told by its entry, and by the sessions that ask for it. */
export async function createSandboxes(options: SandboxesOptions): Promise<SandboxProviders> {
  const { config, warn } = options;
  const root = path.join(config.stateDir, "sandboxes");
  const local: ProviderEntry = {
    name: "local",
    provider: createLocalProvider({ root }),
    reason: "it isolates nothing",
  };
  const entries: readonly ProviderEntry[] = [local];
  return createSandboxProviders(entries, chooseDefault(entries, config, warn));
}

function chooseDefault(
  entries: readonly ProviderEntry[],
  config: Config,
  warn: SandboxesOptions["warn"],
): SandboxProviderName {
  const asked = config.sandbox.provider;
  if (asked !== undefined) {
    const entry = entries.find(({ name }) => name === asked);
    if (!entry?.provider) warn({ reason: entry?.reason }, `PERDURE_SANDBOX is ${asked}, which cannot be used here`);
    return asked;
  }
  const bubblewrap = entries.find(({ name }) => name === "bubblewrap");
  if (bubblewrap?.provider) return "bubblewrap";
  warn({ reason: bubblewrap?.reason }, "commands run without isolation: bubblewrap cannot be used here");
  return "local";
}
