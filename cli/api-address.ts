/** Where the API is: what was asked for, else what the stack of the state directory says, else the configured port. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { readConfig } from "../contract/config.ts";

/** What of the supervisor's file (see state-directory.ts) a client needs. */
const Holder = z.object({ apiUrl: z.url().nullable() });

/**
 * The base URL of the API.
 * @throws ConfigError when the environment is not usable.
 */
export function apiAddress(url: string | undefined, env: NodeJS.ProcessEnv): string {
  if (url !== undefined) return url;
  const { port, host, stateDir } = readConfig(env);
  const configured = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  // A port that somebody set is meant; the default one, or "any", gives way to what runs.
  const isChosen = Boolean(env["PERDURE_PORT"]) && port !== 0;
  return isChosen ? configured : (runningAddress(path.resolve(stateDir)) ?? configured);
}

function runningAddress(stateDir: string): string | undefined {
  try {
    const file = readFileSync(path.join(stateDir, "supervisor.json"), "utf8");
    return Holder.parse(JSON.parse(file)).apiUrl ?? undefined;
  } catch {
    return undefined; // No stack runs there, or one of another version.
  }
}
