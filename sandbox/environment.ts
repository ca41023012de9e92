/** The environment of commands: an allow-list, so that no key of ours and nothing of the process that starts them gets in. */
import path from "node:path";

/** Where programs are looked for when the host's own PATH says nothing. */
const PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Taken over from the host as they are: they hold no secret and programs break without them. */
const TAKEN_OVER = ["USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ"] as const;

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

/** The host's PATH without the folders that npm put in front of it for us, and without relative ones. */
function searchPath(host: string | undefined): string {
  const entries = (host ?? "").split(path.delimiter);
  const kept = entries.filter((entry) => path.isAbsolute(entry) && !entry.split(path.sep).includes("node_modules"));
  return kept.length > 0 ? kept.join(path.delimiter) : PATH_DEFAULT;
}
