/**
 * A caller's command, by the same rules as an agent's: begun once, re-attached as often as it takes, ended once. No policy
 * is asked: whoever may call the API is trusted.
 */
import { LIMITS } from "../contract/limits.ts";
import type { CommandKey } from "../contract/workspace.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import {
  type BegunCommand,
  beginCommand,
  endCommand,
  noteCommandGeneration,
  publishCommandOutput,
} from "../store/commands.ts";
import { type CommandContext, type CommandRun, runCommand } from "../tools/command-run.ts";
import { attempted, type RunningAttempt } from "./attempt.ts";
import { BegunPlace } from "./begun-place.ts";
import { OutputPublisher } from "./output-publisher.ts";
import { placeCommand } from "./place-work.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { publishTraces } from "./sandbox-traces.ts";
import { callSecrets } from "./secret-choice.ts";
import { openSandbox, requireSandboxHere } from "./session-sandbox.ts";

export type RunCallerCommand = (key: CommandKey) => Promise<void>;
export type GiveUpCommand = (key: CommandKey) => Promise<void>;

/** Attempts of one command, lost workers included, after which it is given up: before its workflow gives up, and leaves it open. */
const ATTEMPTS_MAX = LIMITS.attemptsBeside / 2;

export function createRunCallerCommand(deps: RunToolDeps): RunCallerCommand {
  return (key) =>
    attempted(deps, async (running) => {
      await requireSandboxHere(deps, key.sessionId);
      await placeCommand(deps, key);
      const begun = await beginCommand(deps.store.database, key, running.attempt);
      if (begun.state === "begun") await runBegun(deps, begun, { running, stop: key.stop === true });
    });
}

/** Ends a command that no attempt could end, without its sandbox: a row that stays open would be waited for, for ever. */
export function createGiveUpCommand(deps: RunToolDeps): GiveUpCommand {
  return (key) =>
    attempted(deps, async ({ attempt }) => {
      const begun = await beginCommand(deps.store.database, key, attempt);
      if (begun.state === "done") return;
      const text =
        "It was given up, because its sandbox could not be reached. Whether it ran, and what it did, is unknown.";
      await endCommand(deps.store.database, begun, { ...ended("unknown", text), facts: [], attempt });
    });
}

async function runBegun(
  deps: RunToolDeps,
  begun: BegunCommand,
  { running, stop }: { readonly running: RunningAttempt; readonly stop: boolean },
): Promise<void> {
  const { database } = deps.store;
  const lost = new AbortController();
  using publisher = new OutputPublisher(
    { callId: begun.callId },
    (output) => publishCommandOutput(database, begun, output),
    (error) => lost.abort(error),
  );
  const isToStop = stop || begun.isStopping;
  const ran = await runIn(deps, begun, {
    isToStop,
    signal: AbortSignal.any([running.signal, lost.signal, ...(isToStop ? [AbortSignal.abort()] : [])]),
    isStopped: () => (isToStop || running.isStopped()) && !lost.signal.aborted,
    output: (stream, text, upTo) => publisher.add(stream, text, upTo),
  });
  if (lost.signal.aborted) throw lost.signal.reason;
  // What was merely cut off goes on at another worker.
  const isCutOff = running.signal.aborted && !running.isStopped() && ran.outcome === "interrupted" && !isToStop;
  if (isCutOff) throw running.signal.reason;
  const facts = await publisher.end();
  await endCommand(database, begun, { ...ran, facts, attempt: running.attempt });
}

type Io = Pick<CommandContext, "signal" | "isStopped" | "output"> & { readonly isToStop: boolean };

/** Runs it, and says what is known when its sandbox is lost meanwhile. */
async function runIn(deps: RunToolDeps, begun: BegunCommand, io: Io): Promise<CommandRun> {
  const { epoch } = begun;
  if (io.isToStop && epoch === 1) return ended("interrupted", "It was stopped before it was run.");
  if (epoch > ATTEMPTS_MAX) return ended("unknown", `It was lost ${ATTEMPTS_MAX} times. What it did is unknown.`);
  const { database } = deps.store;
  const note = (generation: number): Promise<void> => noteCommandGeneration(database, begun, generation);
  const place = new BegunPlace({ ...begun, database, note });
  let sandbox: Sandbox | undefined;
  try {
    sandbox = await openSandbox(deps, begun.sessionId, () => place.leave());
    if (await place.mayHaveRunBefore(sandbox)) return LOST;
    const run = await runOnce(deps, begun, { ...io, sandbox });
    const { sessionId, callId } = begun;
    await publishTraces(deps, { sessionId, callId, sandbox });
    return run;
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    // Not even opened: nothing was started, and another attempt finds the next one.
    if (error.kind === "lost" && !sandbox) throw error;
    if (error.kind === "lost") return await tellLoss(deps, begun);
    if (io.isToStop && error.kind === "not_found") return ended("interrupted", "It was stopped before it was run.");
    return ended("error", error.message);
  } finally {
    await sandbox?.[Symbol.asyncDispose]();
  }
}

/** That the sandbox is lost is told before its command's end, and not only when somebody needs the next one. */
async function tellLoss(deps: RunToolDeps, { sessionId }: BegunCommand): Promise<CommandRun> {
  try {
    await using _next = await openSandbox(deps, sessionId);
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error; // It is told all the same, or whoever needs one hears why there is none.
  }
  return LOST;
}

async function runOnce(
  deps: RunToolDeps,
  begun: BegunCommand,
  io: Io & { readonly sandbox: Sandbox },
): Promise<CommandRun> {
  const { request, agent, callId, published } = begun;
  const { command, cwd, timeoutMs, input } = request;
  return await runCommand(
    {
      command,
      timeoutMs,
      ...(cwd !== undefined && { cwd }),
      ...(input !== undefined && { input: Buffer.from(input) }),
    },
    {
      sandbox: io.sandbox,
      callId,
      published,
      secrets: callSecrets(deps.secrets, agent.secrets),
      environment: { ...agent.sandbox?.environment, ...agent.environment, ...request.env },
      signal: io.signal,
      isStopped: io.isStopped,
      output: io.output,
    },
  );
}

function ended(outcome: CommandRun["outcome"], text: string): CommandRun {
  return { outcome, text, exitCode: null };
}

const LOST = ended(
  "unknown",
  "The sandbox was lost while this ran. What it had done by then is unknown, and it was not run again.",
);
