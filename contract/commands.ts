/** Commands of a caller in a session's sandbox: bodies of the HTTP API, and what is kept of each. */
import { z } from "zod";
import { ToolOutcome } from "./blocks.ts";
import { CallId } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { CommandEnvironment } from "./sandbox.ts";

const NO_NUL = /^[^\0]*$/;
const NUL_RULE = "expected no NUL character: no command can be given it";

export const CommandFolder = z
  .string()
  .min(1)
  .max(LIMITS.pathCharactersMax)
  .regex(NO_NUL, NUL_RULE)
  .refine((path) => !path.split("/").includes(".."), "expected a folder inside the workspace, without ..");

export const PostCommand = z
  .strictObject({
    command: z
      .string()
      .min(1)
      .max(LIMITS.commandCharactersMax)
      .regex(NO_NUL, NUL_RULE)
      .meta({ description: "A command line, run by bash where there is one, else by sh." }),
    cwd: CommandFolder.optional().meta({ description: "Relative to the workspace. Default: the workspace." }),
    env: CommandEnvironment.optional().meta({ description: "Over the variables of the session's agent." }),
    timeoutMs: z
      .number()
      .int()
      .min(1)
      .max(LIMITS.commandTimeoutMs.max)
      .default(LIMITS.commandTimeoutMs.default)
      .meta({ description: "After so long it and what it started are ended." }),
    input: z
      .string()
      .refine(
        (text) => new TextEncoder().encode(text).length <= LIMITS.commandInputBytesMax,
        `expected at most ${LIMITS.commandInputBytesMax} bytes`,
      )
      .optional()
      .meta({ description: "What it reads from its standard input. Default: nothing." }),
    id: CallId.optional().meta({ description: "Yours: the same id again is the same command." }),
  })
  .meta({ id: "PostCommand" });
export type PostCommand = z.infer<typeof PostCommand>;

/** What is run: all of the body but its id. */
export type CommandRequest = Omit<PostCommand, "id">;

export const CommandState = z.enum(["planned", "running", "stopping", "done"]);
export type CommandState = z.infer<typeof CommandState>;

export const Command = z
  .object({
    id: CallId,
    command: z.string(),
    cwd: z.string().nullable(),
    timeoutMs: z.number().int(),
    state: CommandState,
    outcome: ToolOutcome.nullable().meta({ description: "`ok`: it exited with 0. null while it has not ended." }),
    exitCode: z.number().int().nullable().meta({ description: "null when it did not exit by itself." }),
    result: z
      .string()
      .nullable()
      .meta({ description: "What it printed, cut in its middle when that was much, and how it ended." }),
    madeAt: z.number().int(),
    startedAt: z.number().int().nullable(),
    endedAt: z.number().int().nullable(),
  })
  .meta({ id: "Command" });
export type Command = z.infer<typeof Command>;

export const CommandList = z
  .object({ commands: z.array(Command), next: z.string().nullable() })
  .meta({ id: "CommandList" });
export type CommandList = z.infer<typeof CommandList>;
