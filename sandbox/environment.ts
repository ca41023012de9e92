/** The environment of commands: an allow-list, so that no key of ours and nothing of the process that starts them gets in. */
import path from "node:path";
import { SandboxError } from "./provider.ts";

/** Where programs are looked for when the host's own PATH says nothing. */
const PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Taken over from the host as they are: they hold no secret and programs break without them. */
const TAKEN_OVER = ["USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ"] as const;

/** Not for a profile to change: by these the processes of a sandbox are known when it is removed. */
const KEPT: ReadonlySet<string> = new Set(["TMPDIR", "PERDURE_CALL", "PERDURE_TERMINAL"]);

export function commandEnvironment(
  host: Readonly<Record<string, string | undefined>>,
  folders: { readonly home: string; readonly temporary: string },
): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: searchPath(host["PATH"]),
    HOME: folders.home,
    TMPDIR: folders.temporary,
    TERM: "dumb",
    LANG: "C.UTF-8",
  };
  for (const name of TAKEN_OVER) {
    const value = host[name];
    if (value) environment[name] = value;
  }
  return environment;
}

/**
 * Variables of one command as `NAME=value`. They are given to the command alone, not to the supervisor that starts and
 * watches it: whatever PATH or LD_PRELOAD a profile names, its commands are still started once, timed and recorded.
 */
export function ownVariables(given: Readonly<Record<string, string>> = {}): readonly string[] {
  return checkedVariables(given).map(([name, value]) => `${name}=${value}`);
}

/** What the supervisor's own environment holds besides, so that it can give a command its secrets (see START_SCRIPT). */
export function secretVariables(given: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const secrets = checkedVariables(given);
  if (secrets.length === 0) return {};
  return {
    PERDURE_SECRETS: secrets.map(([name]) => name).join(" "),
    ...Object.fromEntries(secrets.map(([name, value]) => [`PERDURE_SECRET_${name}`, value])),
  };
}

function checkedVariables(
  given: Readonly<Record<string, string>>,
): readonly (readonly [name: string, value: string])[] {
  const variables = Object.entries(given).filter(([name]) => !KEPT.has(name));
  for (const [name, value] of variables) {
    if (NAME.test(name) && !value.includes("\0")) continue;
    throw new SandboxError("failed", `the variable ${JSON.stringify(name)} cannot be given to a command`);
  }
  return variables;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The host's PATH without the folders that npm put in front of it for us, and without relative ones. */
function searchPath(host: string | undefined): string {
  const entries = (host ?? "").split(path.delimiter);
  const kept = entries.filter((entry) => path.isAbsolute(entry) && !entry.split(path.sep).includes("node_modules"));
  return kept.length > 0 ? kept.join(path.delimiter) : PATH_DEFAULT;
}
