/** Whether what a module exports is a tool plugin: every wrong field is named, with what was expected. */
import { z } from "zod";
import { BuiltInTool, HANDOFF_PREFIX, ToolName } from "../contract/agents.ts";
import { LIMITS } from "../contract/limits.ts";
import type { PluginTool } from "./plugin.ts";
import { readParameters } from "./plugin-parameters.ts";
import type { LoadedTool } from "./plugin-tool.ts";

export interface ReadPlugin {
  readonly tools: readonly { readonly source: string; readonly loaded: LoadedTool }[];
  /** In words, for whoever wrote the plugin. */
  readonly faults: readonly string[];
}

const DESCRIPTION_CHARACTERS_MAX = 16_000;

const OwnName = ToolName.refine((name) => !BuiltInTool.safeParse(name).success, {
  error: ({ input }) => `there is a built-in tool ${String(input)}; expected another name`,
}).refine((name) => !name.startsWith(HANDOFF_PREFIX), `${HANDOFF_PREFIX}… is for handoffs; expected another name`);

const Tool = z.strictObject({
  name: OwnName,
  description: z.string().trim().min(1).max(DESCRIPTION_CHARACTERS_MAX),
  parameters: z.custom<object>((given) => typeof given === "object" && given !== null, "expected a schema"),
  replay: z.enum(["safe", "keyed", "ask"]).default("ask"),
  timeoutMs: z.int().min(1).max(LIMITS.toolTimeoutMs.max).default(LIMITS.toolTimeoutMs.default),
  changesWorld: z.boolean().default(true),
  needsApproval: z.boolean().default(false),
  changesFiles: z.boolean().default(true),
  argumentKinds: z.record(z.string(), z.enum(["command", "path"])).default({}),
  execute: z.custom<PluginTool["execute"]>((given) => typeof given === "function", "expected a function"),
});

const Plugin = z.strictObject({
  name: z.string().min(1).max(100),
  tools: z.array(z.unknown()).min(1).max(LIMITS.toolsMax),
});

export async function readPlugin(given: unknown): Promise<ReadPlugin> {
  const plugin = Plugin.safeParse(ownFields(given, Plugin.shape));
  if (!plugin.success) return { tools: [], faults: [`the plugin is not usable: ${faultsOf(plugin.error)}`] };
  const source = plugin.data.name;
  const read = await Promise.all(plugin.data.tools.map((tool, index) => readTool(tool, `tools[${index}]`)));
  return {
    tools: read.flatMap((one) => ("loaded" in one ? [{ source, loaded: one.loaded }] : [])),
    faults: read.flatMap((one) => ("fault" in one ? [`the plugin ${source}: ${one.fault}`] : [])),
  };
}

async function readTool(
  given: unknown,
  place: string,
): Promise<{ readonly loaded: LoadedTool } | { readonly fault: string }> {
  const tool = Tool.safeParse(ownFields(given, Tool.shape));
  if (!tool.success) return { fault: `${nameOf(given) ?? place} is not usable: ${faultsOf(tool.error)}` };
  const { name, execute } = tool.data;
  try {
    const parameters = await readParameters(tool.data.parameters);
    // Called on what was given: a tool may be an instance of a class.
    return { loaded: { ...tool.data, parameters, execute: (args, context) => execute.call(given, args, context) } };
  } catch (error) {
    return { fault: `${name} is not usable: parameters: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** Its fields as a plain object: those of a class's instance may be its prototype's. */
function ownFields(given: unknown, shape: Readonly<Record<string, unknown>>): unknown {
  if (typeof given !== "object" || given === null || Array.isArray(given)) return given;
  const fields: Readonly<Record<string, unknown>> = given as Readonly<Record<string, unknown>>;
  const inherited = Object.keys(shape).filter((name) => name in fields && fields[name] !== undefined);
  const extra = Object.getPrototypeOf(given) === Object.prototype ? Object.keys(given) : [];
  return Object.fromEntries([...new Set([...inherited, ...extra])].map((name) => [name, fields[name]]));
}

function nameOf(given: unknown): string | undefined {
  const name = typeof given === "object" && given !== null && "name" in given ? given.name : undefined;
  return typeof name === "string" && name !== "" ? `the tool ${JSON.stringify(name.slice(0, 64))}` : undefined;
}

function faultsOf({ issues }: z.ZodError): string {
  return issues
    .map(({ path, message }) => {
      const words = message.replace(/^Invalid input: /, "");
      return path.length === 0 ? words : `${path.map(String).join(".")}: ${words}`;
    })
    .join("; ");
}
