/** The stack that runs on a state folder, as its supervisor's file tells: where its API and its Temporal are. Nothing falls back to another's. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { type Config, ConfigError } from "../contract/config.ts";
import { isAlive } from "./process-identity.ts";
import { ProcessEntry } from "./state-directory.ts";

/** What of the supervisor's file (see state-directory.ts) others need. */
const Holder = z.object({
  pid: z.number().int().positive(),
  identity: z.string(),
  apiUrl: z.url().nullable(),
  temporal: z.object({ address: z.string(), isOwn: z.boolean() }).nullable(),
});

export interface RunningStack {
  /** Null while it is starting. */
  readonly apiUrl: string | null;
  /** `isOwn`: it is the embedded one, and nobody else's. */
  readonly temporal: { readonly address: string; readonly isOwn: boolean } | null;
}

/** Undefined: none runs there, or one of an older version. What a killed supervisor left behind tells nothing: its ports may be another's by now. */
export function runningStack(stateDir: string): RunningStack | undefined {
  try {
    const file = readFileSync(path.join(stateDir, "supervisor.json"), "utf8");
    const holder = Holder.parse(JSON.parse(file));
    return isAlive(holder) ? holder : undefined;
  } catch {
    return undefined;
  }
}

/** The living processes of the folder's stack, as its supervisor has told last. None, where none runs. */
export function stackProcesses(stateDir: string): readonly ProcessEntry[] {
  if (!runningStack(stateDir)) return [];
  try {
    return ProcessEntry.array().parse(JSON.parse(readFileSync(path.join(stateDir, "processes.json"), "utf8")));
  } catch {
    return []; // It is just starting, or of another version.
  }
}

/**
 * The Temporal that a worker or an API of its own joins: the one that was given, else that of the folder's stack.
 * @throws ConfigError when there is neither.
 */
export function temporalOf({ temporalAddress }: Config, stateDir: string): string {
  const address = temporalAddress ?? runningStack(stateDir)?.temporal?.address;
  if (address !== undefined) return address;
  throw new ConfigError(
    `no stack runs on ${stateDir}, and TEMPORAL_ADDRESS does not say where Temporal is: ` +
      "start the stack with `perdure dev`, set PERDURE_STATE_DIR to the folder of one that runs, or set TEMPORAL_ADDRESS",
  );
}

/** Whether a process at that Temporal is a part of the stack that runs on its folder; `own`: of one whose Temporal is its own. */
export function partOf(stateDir: string, address: string): "own" | "shared" | "none" {
  const temporal = runningStack(stateDir)?.temporal;
  if (temporal?.address !== address) return "none";
  return temporal.isOwn ? "own" : "shared";
}
