/**
 * Which provider is meant by none, and which ones callers may ask for. A worker that finds bubblewrap broken must not run on
 * without isolation where there was some: then it does not start, until somebody has said that it may.
 */
import { type Config, ConfigError } from "../contract/config.ts";
import type { SandboxProviderName } from "../contract/sandbox.ts";
import type { ProviderEntry } from "../sandbox/registry.ts";

export interface ChoiceOptions {
  readonly entries: readonly ProviderEntry[];
  readonly config: Pick<Config, "sandbox">;
  /** What sessions that name none ran in so far; undefined: there were none. */
  readonly kept: SandboxProviderName | undefined;
  /** Bubblewrap was not seen to fail, but could not be tried now: memory or processes were short. */
  readonly isUncertain: boolean;
  warn(fields: object, message: string): void;
}

export interface SandboxChoice {
  readonly defaultName: SandboxProviderName;
  /** What a person should read when the stack is ready; undefined: nothing. */
  readonly notice: string | undefined;
}

/**
 * @throws ConfigError where isolation would be lost in silence, or a plain Error where a later try may find it.
 */
export function chooseDefault({ entries, config, kept, isUncertain, warn }: ChoiceOptions): SandboxChoice {
  const asked = config.sandbox.provider;
  if (asked !== undefined) {
    const entry = entries.find(({ name }) => name === asked);
    if (!entry?.provider) warn({ reason: entry?.reason }, `PERDURE_SANDBOX is ${asked}, which cannot be used here`);
    return { defaultName: asked, notice: asked === "local" ? "local (no isolation)" : undefined };
  }
  const best = entries.find(({ name }) => name === "bubblewrap");
  if (best?.provider) return { defaultName: "bubblewrap", notice: undefined };
  const reason = best?.reason ?? "unknown";
  // Any other default was named, and is not named any more: as in a new folder, but for what local takes away.
  if (kept !== undefined && kept !== "local") {
    if (isUncertain) throw new Error(`bubblewrap cannot be tried right now: ${reason}`);
    throw new ConfigError(
      `the environment is not usable:\n  PERDURE_SANDBOX: sessions of this state folder run their commands in ${kept}, and without ` +
        `a word of yours they would now run without isolation, as your user. bubblewrap does not work here: ${reason}. Mend ` +
        "that, or name another provider, or accept it with PERDURE_SANDBOX=local",
    );
  }
  warn({ reason }, "commands run without isolation: bubblewrap cannot be used here");
  return { defaultName: "local", notice: `local (no isolation: ${reason})` };
}

/** Every provider that is named is allowed, and the default; without a list all but `local`, which isolates nothing. */
export function allowedProviders(
  { sandbox }: Pick<Config, "sandbox">,
  defaultName: SandboxProviderName,
): ReadonlySet<SandboxProviderName> {
  return new Set([...(sandbox.allowed ?? (["bubblewrap", "docker", "modal"] as const)), defaultName]);
}
