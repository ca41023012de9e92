/** `perdure status`: what each process of the stack of a state folder is, what it waits for, and since when. */
import path from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { readConfig } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { tableRow } from "../pages.ts";
import { type RunningStack, runningStack, stackProcesses } from "../running-stack.ts";
import { safeJson, safeLine } from "../terminal-text.ts";

/** One line of the answer. `down`: it has died, and is started again. `external`: a Temporal that somebody else keeps. */
export interface ProcessStatus {
  readonly name: string;
  readonly state: "starting" | "waiting" | "ready" | "down" | "external";
  readonly pid: number | null;
  readonly since: number | null;
  readonly restarts: number | null;
  readonly waitsFor: string | null;
}

/** What `/readyz` has to say where it is not ready. */
const Problem = z.object({ detail: z.string().optional() });
const COLUMNS = [9, 9, 8, 20, 9] as const;
const WAITS_CHARACTERS = 300;

export function addStatus(program: Command, io: Io, end: (exitCode: number) => void): void {
  program
    .command("status")
    .description(
      "Say what each process of the stack of PERDURE_STATE_DIR is and waits for. " +
        `Exit codes: ${EXIT.completed} all are ready, ${EXIT.failed} some are not, ${EXIT.unreachable} no stack runs there.`,
    )
    .option("--json", "print each process as one line of JSON", false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const stateDir = path.resolve(readConfig(io.env).stateDir);
      const stack = runningStack(stateDir);
      if (!stack) {
        io.stderr.write(`perdure: no stack runs on ${safeLine(stateDir, WAITS_CHARACTERS)}\n`);
        return end(EXIT.unreachable);
      }
      const all = await statusOf(stateDir, stack);
      if (json) for (const one of all) io.stdout.write(`${safeJson(JSON.stringify(one))}\n`);
      else show(io, all);
      end(all.every(isWell) ? EXIT.completed : EXIT.failed);
    });
}

function isWell({ state, waitsFor }: ProcessStatus): boolean {
  return (state === "ready" || state === "external") && waitsFor === null;
}

async function statusOf(stateDir: string, stack: RunningStack): Promise<readonly ProcessStatus[]> {
  const fault = await readinessFault(stack.apiUrl);
  const processes = stackProcesses(stateDir);
  const isOwn = stack.temporal?.isOwn ?? true;
  return (["temporal", "worker", "api"] as const).map((name): ProcessStatus => {
    const found = processes.find((one) => one.name === name);
    const nothing = { name, pid: null, since: null, restarts: null, waitsFor: null };
    if (!found) return { ...nothing, state: name === "temporal" && !isOwn ? "external" : "down" };
    const { pid, state = "starting", startedAt, since = startedAt, restarts, waitsFor = null } = found;
    // Its process lives, but it says itself that it cannot work: the store or Temporal fails it.
    const fails = name === "api" && state === "ready" ? fault : undefined;
    return { name, pid, state, since, restarts, waitsFor: fails ?? waitsFor };
  });
}

/** Undefined when it is ready, or nobody can be asked yet, which the list of processes says. */
async function readinessFault(apiUrl: string | null): Promise<string | undefined> {
  if (apiUrl === null) return undefined;
  try {
    const answer = await fetch(new URL("/readyz", apiUrl), { signal: AbortSignal.timeout(2 * LIMITS.readyTimeoutMs) });
    if (answer.ok) return undefined;
    const problem = Problem.safeParse(await answer.json().catch(() => undefined));
    return problem.data?.detail ?? `/readyz answers ${answer.status}`;
  } catch {
    return `it does not answer at ${apiUrl}`;
  }
}

function show(io: Io, all: readonly ProcessStatus[]): void {
  io.stdout.write(`${tableRow(COLUMNS, ["PROCESS", "STATE", "PID", "SINCE", "RESTARTS", "WAITS FOR"])}\n`);
  for (const { name, state, pid, since, restarts, waitsFor } of all) {
    const when = since === null ? "-" : `${new Date(since).toISOString().slice(0, 19)}Z`;
    const waits = waitsFor === null ? "-" : safeLine(waitsFor, WAITS_CHARACTERS);
    io.stdout.write(`${tableRow(COLUMNS, [name, state, String(pid ?? "-"), when, String(restarts ?? "-"), waits])}\n`);
  }
}
