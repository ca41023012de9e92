/** A step in another process: what the conformance suite starts and kills. Run with a recipe and an input as JSON on stdin. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import {
  BackendError,
  type StepInput,
  type StepOutput,
  type SteppedBackend,
  type StepSink,
} from "../../backends/backend.ts";
import type { RunStep } from "./played-session.ts";

/** How any process makes the same backend: an export of a module of ours, called with JSON. */
export interface BackendRecipe {
  /** A file URL. */
  readonly module: string;
  readonly make: string;
  readonly options: unknown;
}

interface Errand {
  readonly recipe: BackendRecipe;
  readonly input: StepInput;
}

type Line =
  | { readonly said: "started" | "delta" | "completed"; readonly with: readonly [number, never] }
  | { readonly said: "output"; readonly output: StepOutput }
  | {
      readonly said: "failure";
      readonly failure: Pick<BackendError, "code" | "message" | "retryable" | "retryAfterMs">;
    };

export interface StepElsewhere {
  readonly pid: number;
  readonly done: Promise<StepOutput>;
  kill(): void;
}

export async function makeBackend({ module, make, options }: BackendRecipe): Promise<SteppedBackend> {
  const exports = (await import(module)) as Record<
    string,
    (options: unknown) => SteppedBackend | Promise<SteppedBackend>
  >;
  const factory = exports[make];
  if (factory === undefined) throw new Error(`${module} has no export ${make}`);
  return await factory(options);
}

/** Each step in a process of its own, which has nothing but the step's input. */
export function elsewhere(recipe: BackendRecipe): RunStep {
  return (input, sink) => startElsewhere({ recipe, input }, sink).done;
}

/** Starts one step in a process of its own. */
export function startElsewhere(errand: Errand, sink: StepSink): StepElsewhere {
  // What a process that is killed leaves behind is ours to remove.
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-step-"));
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: folder },
  });
  child.once("close", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  child.stdin.on("error", () => undefined); // It was killed before it had read everything.
  child.stdin.end(JSON.stringify(errand));
  let outcome: StepOutput | BackendError | undefined;
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => {
    outcome = take(JSON.parse(line) as Line, sink) ?? outcome;
  });
  const done = Promise.all([once(child, "close"), once(lines, "close")]).then(([[code, signal]]) => {
    if (outcome instanceof Error) throw outcome;
    if (outcome === undefined) throw new Error(`the other process ended with ${code ?? signal}`);
    return outcome;
  });
  done.catch(() => undefined); // Whoever kills it need not look.
  return { pid: child.pid ?? -1, done, kill: () => child.kill("SIGKILL") };
}

function take(line: Line, sink: StepSink): StepOutput | BackendError | undefined {
  switch (line.said) {
    case "started":
      sink.blockStarted(...line.with);
      return undefined;
    case "delta":
      sink.blockDelta(...line.with);
      return undefined;
    case "completed":
      sink.blockCompleted(...line.with);
      return undefined;
    case "output":
      return line.output;
    case "failure": {
      const { code, message, ...more } = line.failure;
      return new BackendError(code, message, more);
    }
  }
}

async function runErrand({ recipe, input }: Errand): Promise<void> {
  const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  const sink: StepSink = {
    blockStarted: (...args) => say({ said: "started", with: args }),
    blockDelta: (...args) => say({ said: "delta", with: args }),
    blockCompleted: (...args) => say({ said: "completed", with: args }),
  };
  const backend = await makeBackend(recipe);
  try {
    const output = await backend.step(input, sink, new AbortController().signal);
    say({ said: "output", output });
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    const { code, message, retryable, retryAfterMs } = error;
    say({ said: "failure", failure: { code, message, retryable, retryAfterMs } });
  } finally {
    await backend[Symbol.asyncDispose]?.();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runErrand(JSON.parse(await text(process.stdin)) as Errand);
  process.exit(); // Connections that are kept for a next step would hold it.
}
