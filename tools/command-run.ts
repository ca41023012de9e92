/** One command of the sandbox: started once for its id however often it is attempted, and followed to its end. */
import { LIMITS } from "../contract/limits.ts";
import type { CommandEnd, CommandStart, SpoolOffsets } from "../sandbox/provider.ts";
import { CommandOutput, type Stream } from "./command-output.ts";
import { type Excerpt, endInWords, readExcerpt, resultText } from "./command-result.ts";
import { NO_REDACTION } from "./redactor.ts";
import { missingInWords, startWith } from "./secret-variables.ts";
import type { ToolContext, ToolResult } from "./tool.ts";

/** After a kill the end is there at once; this bounds the wait for it. */
const END_AFTER_KILL_MS = 2 * LIMITS.killGraceMs;

/** Of a tool's context, what a command needs. */
export type CommandContext = Pick<
  ToolContext,
  "sandbox" | "callId" | "environment" | "secrets" | "signal" | "isStopped" | "published" | "output"
>;

export type Command = Pick<CommandStart, "command" | "cwd" | "timeoutMs" | "input">;

/** How it went. A run that did not exit with 0 is an `error`. */
export interface CommandRun extends ToolResult {
  /** null when it did not exit by itself. */
  readonly exitCode: number | null;
}

interface Ended {
  readonly end: CommandEnd;
  readonly printed: SpoolOffsets;
}

/**
 * Starts the command, or finds it started, publishes its output from `context.published` on, and resolves with its end.
 * Throws SandboxError, and the signal's reason when only this attempt is over: the command then goes on for the next one.
 */
export async function runCommand(command: Command, context: CommandContext): Promise<CommandRun> {
  const { sandbox, callId, signal } = context;
  const output = new CommandOutput(context);
  // An interrupt before the start prevents it, also where a lost attempt has just made it.
  if (!signal.aborted) await sandbox.start({ callId, ...command, ...startWith(context, command.command) });
  const ended = (await followOutput(output, context, signal)) ?? (await interrupt(output, context));
  output.end();
  const exitCode = ended.end.ended === "exited" ? ended.end.exitCode : null;
  const streams = await excerpts(output, context, ended.printed);
  const text = resultText(streams, {
    spoolPath: (stream) => sandbox.spoolPath(callId, stream),
    ending: endInWords(ended.end, command.timeoutMs),
    notes: missingInWords(context, command.command),
    redactor: context.secrets?.redactor ?? NO_REDACTION,
  });
  return { outcome: outcomeOf(ended.end), text, exitCode };
}

/** Publishes the output until the end; undefined when the signal was aborted before it. */
async function followOutput(
  output: CommandOutput,
  { sandbox, callId }: CommandContext,
  signal: AbortSignal,
): Promise<Ended | undefined> {
  while (!signal.aborted) {
    const wasFull = output.isFull;
    for await (const event of sandbox.follow(callId, output.from, signal)) {
      if (event.type === "ended") return event;
      output.add(event.stream, event.bytes);
      if (output.isFull && !wasFull) break; // From now on only the end matters.
    }
    if (output.isFull === wasFull) return undefined;
  }
  return undefined;
}

async function interrupt(output: CommandOutput, context: CommandContext): Promise<Ended> {
  const { sandbox, callId, signal } = context;
  if (!context.isStopped()) throw signal.reason;
  await sandbox.kill(callId);
  const ended = await followOutput(output, context, AbortSignal.timeout(END_AFTER_KILL_MS));
  return ended ?? { end: { ended: "unknown" }, printed: { stdout: 0, stderr: 0 } };
}

async function excerpts(
  output: CommandOutput,
  { sandbox, callId }: CommandContext,
  printed: SpoolOffsets,
): Promise<Record<Stream, Excerpt>> {
  const whole = output.whole(printed);
  const excerpt = async (stream: Stream): Promise<Excerpt> =>
    whole === undefined
      ? await readExcerpt(sandbox, { callId, stream }, printed)
      : { head: whole[stream], tail: new Uint8Array(), printed: whole[stream].length };
  return { stdout: await excerpt("stdout"), stderr: await excerpt("stderr") };
}

function outcomeOf(end: CommandEnd): ToolResult["outcome"] {
  switch (end.ended) {
    case "exited":
      return end.exitCode === 0 ? "ok" : "error";
    case "signalled":
    case "timed_out":
      return "error";
    case "killed":
      return "interrupted";
    case "unknown":
      return "unknown";
  }
}
