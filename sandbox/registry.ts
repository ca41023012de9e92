/** The sandbox providers of one worker: which there are, which of them can be used here, and which one is meant by none. */
import type { AnnouncedSandbox, SandboxProviderName } from "../contract/sandbox.ts";
import { SandboxError, type SandboxProvider } from "./provider.ts";

/** One provider as it was looked at when the worker started: made, or the reason why it cannot be. */
export interface ProviderEntry {
  readonly name: SandboxProviderName;
  readonly provider: SandboxProvider | undefined;
  /** Why it cannot be used, or what it lacks here; null when nothing is to be said. */
  readonly reason: string | null;
}

export interface SandboxProviders {
  readonly defaultName: SandboxProviderName;
  readonly entries: readonly ProviderEntry[];
  /** Throws SandboxError `failed`, in words, when that provider cannot be used on this worker. */
  provider(name: SandboxProviderName): SandboxProvider;
  /** It has turned out not to be usable. It is announced so; who asks for it all the same may find it mended. */
  unusable(name: SandboxProviderName, reason: string): void;
  /** What a worker announces of them. */
  announced(): readonly AnnouncedSandbox[];
}

export function createSandboxProviders(
  entries: readonly ProviderEntry[],
  defaultName: SandboxProviderName,
): SandboxProviders {
  const faults = new Map<SandboxProviderName, string>();
  return {
    defaultName,
    entries,
    provider(name) {
      const entry = entries.find((one) => one.name === name);
      if (entry?.provider) return entry.provider;
      throw new SandboxError("failed", `this worker cannot make sandboxes of ${name}: ${entry?.reason ?? "unknown"}`);
    },
    unusable: (name, reason) => void faults.set(name, reason),
    announced: () =>
      entries.map(({ name, provider, reason }) => ({
        name,
        available: provider !== undefined && !faults.has(name),
        reason: faults.get(name) ?? reason,
        isDefault: name === defaultName,
        capabilities: provider?.capabilities ?? null,
      })),
  };
}
