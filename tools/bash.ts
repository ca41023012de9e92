/** The tool `bash`: one command of the sandbox, started once for its call id however often the call is attempted. */
import { z } from "zod";
import { LIMITS } from "../contract/limits.ts";
import type { CommandEnd, SpoolOffsets } from "../sandbox/provider.ts";
import { CommandOutput, type Stream } from "./command-output.ts";
import { type Excerpt, endInWords, readExcerpt, resultText } from "./command-result.ts";
import { refusalsAsResults } from "./failure.ts";
import type { Tool, ToolContext, ToolResult } from "./tool.ts";

const { default: timeoutDefaultMs, max: timeoutMaxMs } = LIMITS.commandTimeoutMs;
/** After a kill the end is there at once; this bounds the wait for it. */
const END_AFTER_KILL_MS = 2 * LIMITS.killGraceMs;

const Parameters = z.strictObject({
  command: z.string().min(1).describe("The command line, run by bash where there is one, else by sh."),
  cwd: z.string().optional().describe("Folder to run it in, relative to the workspace. Default: the workspace."),
  timeoutMs: z
    .int()
    .min(1)
    .max(timeoutMaxMs)
    .default(timeoutDefaultMs)
    .describe(`Milliseconds after which it is ended. Default ${timeoutDefaultMs}.`),
});

/** A run that did not exit with 0 is an `error`, so that people see it at a glance; to the model it is a result like another. */
export const bash: Tool<typeof Parameters> = {
  name: "bash",
  description:
    "Runs a command in the workspace and returns what it printed. Standard input is empty, and every call is a new shell: " +
    "neither the folder nor variables carry over. What you start with & goes on running after the command ended.",
  parameters: Parameters,
  replay: "keyed",
  quick: false,
  changesFiles: true,
  changesWorld: true,
  argumentKinds: { command: "command", cwd: "path" },
  summary: ({ command }) => `bash: ${command.trim().split("\n")[0]}`,
  run: ({ command, cwd, timeoutMs }, context) =>
    refusalsAsResults(() => runCommand({ command, timeoutMs, ...(cwd !== undefined && { cwd }) }, context)),
};

interface Command {
  readonly command: string;
  readonly cwd?: string;
  readonly timeoutMs: number;
}

interface Ended {
  readonly end: CommandEnd;
  readonly printed: SpoolOffsets;
}

async function runCommand(command: Command, context: ToolContext): Promise<ToolResult> {
  const { sandbox, callId, signal } = context;
  const output = new CommandOutput(context);
  // An interrupt before the start prevents it, also where a lost attempt has just made it.
  if (!signal.aborted) await sandbox.start({ callId, ...command, environment: context.environment });
  const ended = (await followOutput(output, context, signal)) ?? (await interrupt(output, context));
  output.end();
  const outcome = outcomeOf(ended.end);
  const streams = await excerpts(output, context, ended.printed);
  const ending = endInWords(ended.end, command.timeoutMs);
  return { outcome, text: resultText(streams, (stream) => sandbox.spoolPath(callId, stream), ending) };
}

/** Publishes the output until the end; undefined when the signal was aborted before it. */
async function followOutput(
  output: CommandOutput,
  { sandbox, callId }: ToolContext,
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

async function interrupt(output: CommandOutput, context: ToolContext): Promise<Ended> {
  const { sandbox, callId, signal } = context;
  if (!context.isStopped()) throw signal.reason;
  await sandbox.kill(callId);
  const ended = await followOutput(output, context, AbortSignal.timeout(END_AFTER_KILL_MS));
  return ended ?? { end: { ended: "unknown" }, printed: { stdout: 0, stderr: 0 } };
}

async function excerpts(
  output: CommandOutput,
  { sandbox, callId }: ToolContext,
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
