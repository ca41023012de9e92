/** Starts a script of the supervisor in a session of its own, tied to nothing of ours. */
import { spawn } from "node:child_process";

/** What `sh -c` gets: the script, then its arguments. */
export interface DetachedScript {
  readonly script: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Resolves when the script has closed its standard output: a reader that dies cannot hurt it, as nothing is ever written
 * there. Rejects when no process could be made.
 */
export function spawnDetached({ script, args, env }: DetachedScript): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", ["-c", script, "perdure", ...args], {
      cwd: "/",
      env,
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    child.unref();
    child.once("error", reject);
    child.stdout.once("close", resolve);
    child.stdout.resume();
  });
}
