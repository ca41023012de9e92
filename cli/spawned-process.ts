/** How a process of the stack is begun: its log, its channel to the supervisor, and what it is handed by a pipe. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { HANDED_VARIABLES } from "../contract/config.ts";
import { boundLog } from "./log-file.ts";

/** The descriptor behind the channel. */
const HANDED_ON = 4;

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** `ipc`: a Node program of ours. `guard`: a program behind the guard, which reads a pipe on descriptor 3. */
  readonly channel: "ipc" | "guard";
  /** Variables that are handed over by a pipe, so that nobody reads them in the environment of the process. */
  readonly handed?: NodeJS.ProcessEnv;
}

/** Throws where the log cannot be opened; a program that cannot be started is told by the child's `error`. */
export function spawnProcess({ file, args, env, channel, handed }: Command, logFile: string): ChildProcess {
  boundLog(logFile);
  const log = openSync(logFile, "a", 0o600);
  try {
    // A group of its own: Ctrl-C in a terminal reaches the supervisor only, which then stops everything in order.
    const child = spawn(file, args, {
      env: handed ? { ...env, [HANDED_VARIABLES]: String(HANDED_ON) } : env,
      detached: true,
      stdio: ["ignore", log, log, channel === "ipc" ? "ipc" : "pipe", ...(handed ? (["pipe"] as const) : [])],
    });
    if (handed) hand(child, handed);
    child.stdio[3]?.on("error", ignore); // The guard, when it has ended before its pipe is closed.
    return child;
  } finally {
    closeSync(log);
  }
}

function hand(child: ChildProcess, variables: NodeJS.ProcessEnv): void {
  const pipe = child.stdio[HANDED_ON];
  if (!pipe || !("end" in pipe)) return;
  pipe.on("error", ignore); // It has ended before it read them.
  pipe.end(JSON.stringify(variables));
}

/** Tells the guard, if there is one, that what it guards has ended: it must not signal whoever gets that pid next. */
export function dismissGuard(child: ChildProcess): void {
  const pipe = child.stdio[3];
  if (!pipe || !("end" in pipe)) return;
  pipe.end("ended\n");
}

function ignore(): void {
  // Nothing to do: the death of the process is told by its exit.
}
