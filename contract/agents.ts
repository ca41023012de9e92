/** What an agent is: its instructions, its backend and model, its tools, its policy and its limits. A session pins one. */
import { z } from "zod";
import { AgentId } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { Policy } from "./policy.ts";
import { AgentSecret, CommandEnvironment, SandboxSpec } from "./sandbox.ts";

/** The built-in tools. The registry in tools/ must hold exactly these. */
export const BuiltInTool = z.enum(["bash", "read_file", "write_file", "edit_file", "list_files", "grep", "ask_user"]);
export type BuiltInTool = z.infer<typeof BuiltInTool>;

/** Calls of such a name hand the conversation over to another agent; no tool may be named so. */
export const HANDOFF_PREFIX = "transfer_to_";

/** A tool's name as every model provider takes it: a built-in one, or one that a worker loaded (`--tools`). */
export const ToolName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/, "expected a tool's name: 1 to 64 letters, digits, _ or -");
export type ToolName = z.infer<typeof ToolName>;

const bounded = (limit: { readonly default: number; readonly max: number }) =>
  z.number().int().min(1).max(limit.max).default(limit.default);

export const AgentLimits = z
  .strictObject({
    stepsPerTurn: bounded(LIMITS.stepsPerTurn),
    turnTimeoutMs: bounded(LIMITS.turnTimeoutMs).meta({ description: "Time spent waiting for people is not counted." }),
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
    approvalTimeoutMs: bounded(LIMITS.approvalTimeoutMs).meta({
      description: "An approval that nobody has decided by then is denied.",
    }),
    questionTimeoutMs: bounded(LIMITS.questionTimeoutMs).meta({
      description: "A question that nobody has answered by then is given back to the model unanswered.",
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

/** What may be set of a model. Which of them a backend takes is in its capabilities (`GET /v1/backends`). */
export const ModelSettings = z
  .strictObject({
    api: z
      .enum(["responses", "chat_completions"])
      .optional()
      .meta({ description: "Which wire of the vendor is spoken." }),
    temperature: z.number().min(0).max(2).optional(),
    topP: z.number().min(0).max(1).optional(),
    maxOutputTokens: z.number().int().min(1).optional(),
    reasoningEffort: z.enum(["none", "minimal", "low", "medium", "high", "xhigh"]).optional(),
  })
  .meta({ id: "ModelSettings" });
export type ModelSettings = z.infer<typeof ModelSettings>;

/** A file that is laid into each new sandbox before anything runs in it. */
export const AgentFile = z
  .strictObject({
    path: z
      .string()
      .min(1)
      .max(512)
      .regex(/^(?!\/)(?!.*(^|\/)\.\.(\/|$))(?!.*\/$)[^\0]+$/, "expected a relative path of the workspace, without ..")
      .regex(/(^|\/)(?!\.$)[^/]+$/, "expected a file's path; this one is a folder's"),
    content: z.string().optional().meta({ description: "The text." }),
    data: z.base64().optional().meta({ description: "The bytes, base64; instead of content." }),
  })
  .refine((file) => (file.content === undefined) !== (file.data === undefined), "expected either content or data")
  .meta({ id: "AgentFile" });
export type AgentFile = z.infer<typeof AgentFile>;

/** One version of an agent. Without a version in a request: its newest, which is then pinned. */
export const AgentRef = z
  .strictObject({ id: AgentId, version: z.number().int().positive() })
  .meta({ id: "AgentRef", description: "One version of a stored agent." });
export type AgentRef = z.infer<typeof AgentRef>;

/** Another agent that this one may hand the conversation to, by a call of `transfer_to_<id>`. */
export const Handoff = z
  .strictObject({
    agent: AgentId,
    version: z
      .number()
      .int()
      .positive()
      .optional()
      .meta({ description: "Default: the newest, pinned with the session." }),
    description: z.string().min(1).max(1_000).optional().meta({ description: "For the model: when to hand over." }),
  })
  .meta({ id: "Handoff" });
export type Handoff = z.infer<typeof Handoff>;

export const Agent = z
  .strictObject({
    name: z.string().min(1).max(100).default("default"),
    description: z.string().max(2_000).optional(),
    instructions: z.string().max(LIMITS.instructionsBytesMax).optional(),
    backend: z.string().min(1).max(64).default("openai").meta({ description: "One of `GET /v1/backends`." }),
    model: z.string().min(1).max(200).optional().meta({ description: "Default: PERDURE_MODEL of the worker." }),
    modelSettings: ModelSettings.default({}),
    tools: z
      .array(ToolName)
      .max(LIMITS.toolsMax)
      .default([...BuiltInTool.options])
      .meta({ description: "Default: all built-in tools." }),
    policy: Policy.optional().meta({
      description:
        "Which calls ask a person first. A stored agent that says nothing asks for tools that change the world; an agent given with its session and no policy allows all.",
    }),
    approver: z
      .enum(["person", "none"])
      .default("person")
      .meta({ description: "`none`: nobody can be asked, so what would ask is denied at once." }),
    limits: AgentLimits.prefault({}),
    outputSchema: z
      .record(z.string(), z.unknown())
      .optional()
      .meta({ description: "A JSON schema (an object at its top) that the final answer of each turn must match." }),
    artifacts: z.array(WorkspaceFolder).max(LIMITS.artifactFoldersMax).default(["outputs/"]),
    environment: CommandEnvironment.default({}),
    secrets: z.array(AgentSecret).max(LIMITS.secretsMax).optional().meta({
      description: "Names of secrets that commands get as variables; the values are the worker's.",
    }),
    sandbox: SandboxSpec.optional().meta({ description: "Where its commands run. Default: the worker's own default." }),
    files: z.array(AgentFile).max(LIMITS.agentFilesMax).default([]),
    handoffs: z.array(Handoff).max(LIMITS.handoffsMax).default([]),
  })
  .meta({ id: "Agent" });
/** An agent with every default filled in, as a session stores it. */
export type Agent = z.infer<typeof Agent>;

/** An agent as a client writes it. `backendOptions` is the name that `modelSettings` had in 0.1. */
export const AgentInput = Agent.extend({
  backendOptions: ModelSettings.optional().meta({ description: "Old name of modelSettings.", deprecated: true }),
}).meta({ id: "AgentInput" });
export type AgentInput = z.input<typeof AgentInput>;

/** What a client wrote, as an agent: old names in their new place. */
export function toAgent({ backendOptions, ...agent }: z.output<typeof AgentInput>): Agent {
  return { ...agent, modelSettings: { ...backendOptions, ...agent.modelSettings } };
}

/** What a session may say differently from its stored agent. Nothing has a default here: what is left out stays. */
export const AgentOverrides = z
  .strictObject({
    instructions: z.string().max(LIMITS.instructionsBytesMax),
    backend: z.string().min(1).max(64),
    model: z.string().min(1).max(200),
    modelSettings: ModelSettings,
    tools: z.array(ToolName).max(LIMITS.toolsMax),
    policy: Policy,
    approver: z.enum(["person", "none"]),
    limits: z.strictObject(
      Object.fromEntries(
        Object.entries(AgentLimits.shape).map(([name, schema]) => [name, schema.unwrap().optional()]),
      ) as { [K in keyof typeof AgentLimits.shape]: z.ZodOptional<z.ZodNumber> },
    ),
    outputSchema: z.record(z.string(), z.unknown()),
    artifacts: z.array(WorkspaceFolder).max(LIMITS.artifactFoldersMax),
    environment: CommandEnvironment,
    secrets: z.array(AgentSecret).max(LIMITS.secretsMax),
    sandbox: SandboxSpec,
    files: z.array(AgentFile).max(LIMITS.agentFilesMax),
  })
  .partial()
  .meta({ id: "AgentOverrides" });
export type AgentOverrides = z.infer<typeof AgentOverrides>;

/** The agent with a session's overrides: settings, limits and variables one by one, all else whole. */
export function withOverrides(agent: Agent, overrides: AgentOverrides): Agent {
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined));
  return Agent.parse({
    ...agent,
    ...given,
    modelSettings: { ...agent.modelSettings, ...overrides.modelSettings },
    limits: { ...agent.limits, ...overrides.limits },
    environment: { ...agent.environment, ...overrides.environment },
    sandbox: mergedSandbox(agent.sandbox, overrides.sandbox),
  });
}

function mergedSandbox(base: SandboxSpec | undefined, over: SandboxSpec | undefined): SandboxSpec | undefined {
  if (!base || !over) return over ?? base;
  return { ...base, ...over, environment: { ...base.environment, ...over.environment } };
}

/** A tool that the session's caller runs: the model asks for it, `tool.requested` tells the caller, its result is posted. */
export const ClientTool = z
  .strictObject({
    name: ToolName,
    description: z.string().max(4_000).default(""),
    parameters: z
      .record(z.string(), z.unknown())
      .default({ type: "object", properties: {} })
      .meta({ description: "A JSON schema of its arguments, an object at its top." }),
    timeoutMs: bounded(LIMITS.clientToolTimeoutMs).meta({
      description: "A call without a result by then ends as the replay rule says.",
    }),
    replay: z.enum(["safe", "keyed", "ask"]).default("ask").meta({
      description:
        "Whether the caller may run a call again whose result it lost: `safe` yes, `keyed` yes with the call id as its key, `ask` only when a person says so. A call of `safe` that got no result in time ends as an error, any other as unknown.",
    }),
  })
  .meta({ id: "ClientTool" });
export type ClientTool = z.infer<typeof ClientTool>;
