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
  /** For what callers begin. Throws as `provider` does, and when callers may not ask for it. */
  allowed(name: SandboxProviderName): SandboxProvider;
  /** For what is there already, to be removed. Throws SandboxError `failed`, in words, when it cannot be used on this worker. */
  provider(name: SandboxProviderName): SandboxProvider;
  /** It has turned out not to be usable. It is announced so; who asks for it all the same may find it mended. */
  unusable(name: SandboxProviderName, reason: string): void;
  /** What a worker announces of them. */
  announced(): readonly AnnouncedSandbox[];
}

export function createSandboxProviders(
  entries: readonly ProviderEntry[],
  defaultName: SandboxProviderName,
  allowed: ReadonlySet<SandboxProviderName> = new Set(entries.map(({ name }) => name)),
): SandboxProviders {
  const faults = new Map<SandboxProviderName, string>();
  const provider = (name: SandboxProviderName): SandboxProvider => {
    const entry = entries.find((one) => one.name === name);
    if (entry?.provider) return entry.provider;
    throw new SandboxError("failed", `this worker cannot make sandboxes of ${name}: ${entry?.reason ?? "unknown"}`);
  };
  return {
    defaultName,
    entries,
    allowed(name) {
      if (allowed.has(name) || !entries.some((one) => one.name === name)) return provider(name);
      const names = [...allowed].join(", ");
      throw new SandboxError(
        "failed",
        `sandboxes of ${name} are not allowed here: ${notAllowed(name)}. Allowed are ${names}; ` +
          "make a session with one of these, or have it allowed",
      );
    },
    provider,
    unusable: (name, reason) => void faults.set(name, reason),
    announced: () =>
      entries.map(({ name, provider, reason }) => ({
        name,
        available: provider !== undefined && !faults.has(name) && allowed.has(name),
        reason: allowed.has(name) ? (faults.get(name) ?? reason) : notAllowed(name),
        isDefault: name === defaultName,
        capabilities: provider?.capabilities ?? null,
      })),
  };
}

function notAllowed(name: SandboxProviderName): string {
  return `PERDURE_SANDBOXES does not name it${name === "local" ? ", and local isolates nothing" : ""}`;
}
