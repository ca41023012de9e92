/** What an agent is: its instructions, its backend and model, its tools and its limits. A session pins one. */
import { z } from "zod";
import { LIMITS } from "./limits.ts";

/** The built-in tools. The registry in tools/ must hold exactly these. */
export const ToolName = z.enum(["bash", "read_file", "write_file", "edit_file", "list_files", "grep"]);
export type ToolName = z.infer<typeof ToolName>;

const bounded = (limit: { readonly default: number; readonly max: number }) =>
  z.number().int().min(1).max(limit.max).default(limit.default);

export const AgentLimits = z
  .strictObject({
    stepsPerTurn: bounded(LIMITS.stepsPerTurn),
    turnTimeoutMs: bounded(LIMITS.turnTimeoutMs),
    tokensPerTurn: bounded(LIMITS.tokensPerTurn).meta({
      description: "Input and output tokens of all steps of a turn together.",
    }),
    toolsInParallel: bounded(LIMITS.toolsInParallel),
    modelAttempts: bounded(LIMITS.modelAttempts).meta({
      description: "Tries of one model call before the turn fails.",
    }),
    modelIdleTimeoutMs: bounded(LIMITS.modelIdleTimeoutMs).meta({
      description: "A model stream that is silent for so long is broken.",
    }),
  })
  .meta({ id: "AgentLimits" });
export type AgentLimits = z.infer<typeof AgentLimits>;

/** A folder of the workspace, relative, without `..`. */
const WorkspaceFolder = z
  .string()
  .min(1)
  .max(255)
  .regex(/^(?!\/)(?!.*(^|\/)\.\.(\/|$))[^\0]+$/, "expected a relative folder of the workspace, without ..");

export const BackendOptions = z
  .strictObject({
    /** Which wire of the vendor is spoken. */
    api: z.enum(["responses", "chat_completions"]).optional(),
    temperature: z.number().min(0).max(2).optional(),
    maxOutputTokens: z.number().int().min(1).optional(),
    reasoningEffort: z.enum(["none", "minimal", "low", "medium", "high", "xhigh"]).optional(),
  })
  .meta({ id: "BackendOptions" });
export type BackendOptions = z.infer<typeof BackendOptions>;

export const Agent = z
  .strictObject({
    name: z.string().min(1).max(100).default("default"),
    instructions: z.string().max(LIMITS.instructionsBytesMax).optional(),
    backend: z.enum(["openai"]).default("openai"),
    backendOptions: BackendOptions.default({}),
    model: z.string().min(1).max(200).optional().meta({ description: "Default: PERDURE_MODEL of the worker." }),
    tools: z
      .array(ToolName)
      .max(64)
      .default([...ToolName.options])
      .meta({ description: "Default: all built-in tools." }),
    limits: AgentLimits.prefault({}),
    outputSchema: z
      .record(z.string(), z.unknown())
      .optional()
      .meta({ description: "A JSON schema (an object at its top) that the final answer of each turn must match." }),
    artifacts: z.array(WorkspaceFolder).max(LIMITS.artifactFoldersMax).default(["outputs/"]),
  })
  .meta({ id: "Agent" });
/** An agent with every default filled in, as a session stores it. */
export type Agent = z.infer<typeof Agent>;
export type AgentInput = z.input<typeof Agent>;
