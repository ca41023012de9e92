/** A worker's sandbox providers for tests: only `local`, below a folder of the test's. */
import { createLocalProvider } from "../../sandbox/local.ts";
import type { SandboxProvider } from "../../sandbox/provider.ts";
import { createSandboxProviders, type SandboxProviders } from "../../sandbox/registry.ts";

export function localSandboxes(root: string): SandboxProviders {
  return sandboxesOf(createLocalProvider({ root }));
}

export function sandboxesOf(provider: SandboxProvider): SandboxProviders {
  return createSandboxProviders([{ name: provider.name, provider, reason: null }], provider.name);
}
