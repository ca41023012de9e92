/** Which token a request of ours carries: that of the state folder for the stack of the state folder, and for no other. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { readConfig } from "../contract/config.ts";
import { readToken, TokenError } from "../store/api-token.ts";
import { ClientError } from "./client-error.ts";

const Holder = z.object({ apiUrl: z.url() });

export interface ApiPlace {
  readonly address: string;
  /** Somebody said `--url`; without it the address came from the state folder, or is where its stack would be. */
  readonly isGiven: boolean;
}

/**
 * Undefined where there is none to send: the API then says what it wants.
 * @throws ConfigError when the environment is not usable, ClientError when the state folder's token is not.
 */
export function apiToken({ address, isGiven }: ApiPlace, env: NodeJS.ProcessEnv): string | undefined {
  const { token, stateDir } = readConfig(env);
  const folder = path.resolve(stateDir);
  // A token that is sent to a stranger's server is the stranger's: it goes to its own stack alone.
  if (isGiven && new URL(address).origin !== runningOrigin(folder)) return token;
  try {
    return readToken(folder) ?? token;
  } catch (error) {
    if (error instanceof TokenError) throw new ClientError("refused", error.message, { cause: error });
    throw error;
  }
}

function runningOrigin(stateDir: string): string | undefined {
  try {
    const file = readFileSync(path.join(stateDir, "supervisor.json"), "utf8");
    return new URL(Holder.parse(JSON.parse(file)).apiUrl).origin;
  } catch {
    return undefined; // No stack runs there, or one of another version.
  }
}
