/** Where the API is: what was asked for, else what the stack of the state directory says. Without either there is none. */
import path from "node:path";
import { readConfig } from "../contract/config.ts";
import { ClientError } from "./client-error.ts";
import { runningStack } from "./running-stack.ts";

/**
 * The base URL of the API.
 * @throws ConfigError when the environment is not usable, ClientError when no stack runs: another's API is never asked instead.
 */
export function apiAddress(url: string | undefined, env: NodeJS.ProcessEnv): string {
  const given = url ?? givenAddress(env);
  if (given !== undefined) return given;
  const { port, host, stateDir } = readConfig(env);
  // A port that somebody set is meant; the default one, or "any", is nobody's in particular.
  if (env["PERDURE_PORT"] && port !== 0) return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const folder = path.resolve(stateDir);
  const stack = runningStack(folder);
  if (stack?.apiUrl) return stack.apiUrl;
  const start = stack
    ? "it is still starting, try again in a moment"
    : "start one with `npm start` or `perdure dev`, set PERDURE_STATE_DIR to the folder of one that runs";
  const none = stack ? `the stack of ${folder} has no API yet` : `no stack runs on ${folder}`;
  throw new ClientError("unreachable", `${none}: ${start}, or say where the API is with --url or PERDURE_URL`);
}

/** What the environment says instead of `--url`. */
export function givenAddress(env: NodeJS.ProcessEnv): string | undefined {
  return readConfig(env).apiUrl;
}
