/** `perdure dev` and `npm start`: the whole stack on this machine, until Ctrl-C. */
import path from "node:path";
import { ConfigError, readConfig } from "../contract/config.ts";
import { EXIT } from "./exit-codes.ts";
import { Progress, type ProgressOutput } from "./progress.ts";
import { type Stack, type StackEvent, type StackOptions, startStack } from "./stack.ts";
import { StackError } from "./stack-error.ts";
import { safeLine } from "./terminal-text.ts";

/** One Ctrl-C under npm arrives twice: from the terminal, and handed on by npm. */
const SAME_KEY_MS = 500;
const SANDBOX_CHARACTERS = 300;

export interface DevOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly stdout: { write(text: string): unknown };
  readonly stderr: ProgressOutput;
  readonly programs?: StackOptions["programs"];
  /** Temporal's UI, too. */
  readonly ui?: boolean;
}

/** Runs until it is stopped by SIGINT, SIGTERM or SIGHUP, or gives up. Answers with the exit code. */
export async function dev(options: DevOptions): Promise<number> {
  const { env, stdout, stderr, programs, ui = false } = options;
  const stopping = new AbortController();
  let stack: Stack | undefined;
  let stoppingSince = 0;
  const onSignal = (): void => {
    if (!stopping.signal.aborted) {
      stoppingSince = Date.now();
      stderr.write("stopping; once more to stop at once\n");
      stopping.abort();
    } else if (Date.now() - stoppingSince > SAME_KEY_MS) {
      // The second time somebody is in earnest. What is left without a supervisor ends by itself.
      if (stack) stack.kill();
      else process.exit(1);
    }
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, onSignal);
  using progress = new Progress("starting", stderr);
  try {
    const read = readConfig(env);
    const config = { ...read, stateDir: path.resolve(read.stateDir) };
    const onEvent = (event: StackEvent): void => tell(event, progress, stderr);
    stack = await startStack({ config, env, onEvent, ui, signal: stopping.signal, ...(programs && { programs }) });
    progress[Symbol.dispose]();
    const { apiUrl, temporalAddress, uiUrl = "-", sandbox } = stack;
    const noted = sandbox === undefined ? "" : ` sandbox ${safeLine(sandbox, SANDBOX_CHARACTERS)}`;
    stdout.write(`perdure ready: api ${apiUrl} temporal ${temporalAddress} ui ${uiUrl}${noted}\n`);
    const end = await stack.exited;
    if (end.ended === "stopped") return 0;
    stderr.write(`perdure: ${end.message}\n`);
    return 1;
  } catch (error) {
    progress[Symbol.dispose]();
    return explain(error, stderr);
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}

/** What went wrong, in words and never as a stack trace. */
function explain(error: unknown, stderr: ProgressOutput): number {
  if (error instanceof StackError && error.kind === "stopped") return 0;
  const known = error instanceof StackError || error instanceof ConfigError;
  stderr.write(`perdure: ${known ? error.message : `this is a bug of perdure: ${String(error)}`}\n`);
  return error instanceof ConfigError ? EXIT.usage : EXIT.failed;
}

/** One line for what a person at the terminal should know. That it gave up is told with the end. */
function tell(event: StackEvent, progress: Progress, stderr: ProgressOutput): void {
  if (event.type === "progress") progress.update(event.text);
  if (event.type === "started") progress.update(`waiting for ${event.name}`);
  const line = lineFor(event);
  if (line !== undefined) stderr.write(`${line}\n`);
}

function lineFor(event: StackEvent): string | undefined {
  switch (event.type) {
    case "restarted":
      return `${event.name} (pid ${event.oldPid}) ${event.how}; started again as pid ${event.pid} after ${event.afterMs} ms`;
    case "took_over":
      return `the last perdure here was killed; stopped what it left behind (pid ${event.pids.join(", ")})`;
    case "notice":
      return event.message;
    case "died": // Told with the restart that follows, or with the end.
    case "progress":
    case "started":
    case "ready":
    case "gave_up":
      return undefined;
  }
}

if (import.meta.main) {
  const { stdout, stderr, env } = process;
  process.exitCode = await dev({ env, stdout, stderr, ui: process.argv.includes("--ui") });
}
