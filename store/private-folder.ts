/** The state folder: for its owner's eyes only, however it came to be. What lies in it need not be looked at one by one then. */
import { chmodSync, existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { ConfigError } from "../contract/config.ts";
import { makeFolders } from "./folders.ts";

const PRIVATE = 0o700;
const OTHERS = 0o077;
/** What only a state folder of ours has. */
const OURS = ["perdure.db", "supervisor.lock"] as const;

/**
 * Makes it when it is missing. One of ours that is open to others, as older versions made it, is closed; a folder that holds
 * other things is left as it is.
 * @throws ConfigError when others may look into it, or own it; Node's error when it cannot be made.
 */
export function makePrivateFolder(folder: string): void {
  makeFolders(folder, PRIVATE);
  const { mode, uid } = statSync(folder);
  const self = process.getuid?.();
  if (self === undefined) return; // Windows has other rights.
  if (uid !== self && self !== 0)
    throw unusable(folder, `it belongs to another user (uid ${uid})`, "name one of your own");
  if ((mode & OTHERS) === 0) return;
  const isOurs = OURS.some((name) => existsSync(path.join(folder, name))) || readdirSync(folder).length === 0;
  const bits = (mode & 0o777).toString(8);
  if (!isOurs) throw unusable(folder, `other users may look into it (mode ${bits})`, `run: chmod 700 ${folder}`);
  chmodSync(folder, PRIVATE);
}

function unusable(folder: string, why: string, help: string): ConfigError {
  return new ConfigError(
    `the environment is not usable:\n  PERDURE_STATE_DIR: expected a folder that only you may look into; of ${folder}: ${why}; ${help}`,
  );
}
