/** The tool `bash`: one command of the sandbox, started once for its call id however often the call is attempted. */
import { z } from "zod";
import { LIMITS } from "../contract/limits.ts";
import { runCommand } from "./command-run.ts";
import { refusalsAsResults } from "./failure.ts";
import type { Tool } from "./tool.ts";

const { default: timeoutDefaultMs, max: timeoutMaxMs } = LIMITS.commandTimeoutMs;

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
  canBeLeft: true,
  changesFiles: true,
  changesWorld: true,
  argumentKinds: { command: "command", cwd: "path" },
  summary: ({ command }) => `bash: ${command.trim().split("\n")[0]}`,
  run: ({ command, cwd, timeoutMs }, context) =>
    refusalsAsResults(async () => {
      const { outcome, text } = await runCommand({ command, timeoutMs, ...(cwd !== undefined && { cwd }) }, context);
      return { outcome, text };
    }),
};
