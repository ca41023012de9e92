/** One tool of a plugin in a real sandbox, with all that it logs. */
import { createRedaction } from "../../contract/redaction.ts";
import type { PluginTool } from "../../tools/plugin.ts";
import { readPlugin } from "../../tools/plugin-shape.ts";
import { createPluginTool } from "../../tools/plugin-tool.ts";
import { PluginWork } from "../../tools/plugin-work.ts";
import type { ToolContext, ToolResult } from "../../tools/tool.ts";
import { type Call, openWorkshop, type Workshop } from "./workshop.ts";

export interface LoggedLine {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export interface PluginWorkshop extends AsyncDisposable {
  readonly workshop: Workshop;
  readonly logged: LoggedLine[];
  call(overrides?: Partial<ToolContext>): Promise<ToolResult>;
  newCall(): Call;
}

/** The worker's own secret, as far as these tests go. */
export const SECRET = "correct-horse-battery";

export async function openPluginWorkshop(
  execute: PluginTool["execute"],
  fields: Partial<PluginTool> = {},
): Promise<PluginWorkshop> {
  const logged: LoggedLine[] = [];
  const given = { name: "work", description: "Works.", parameters: { type: "object" }, execute, ...fields };
  const { tools, faults } = await readPlugin({ name: "p", tools: [given] });
  if (faults.length > 0) throw new Error(faults.join("\n"));
  const outside = {
    log: (level: string, own: Readonly<Record<string, unknown>>, message: string) =>
      void logged.push({ level, fields: own, message }),
    redact: createRedaction([SECRET]),
    work: new PluginWork(),
  };
  const workshop = await openWorkshop(tools.map(({ loaded }) => createPluginTool(loaded, outside)));
  return {
    workshop,
    logged,
    newCall: () => workshop.newCall(),
    call: (overrides) => workshop.newCall().attempt("work", {}, overrides),
    [Symbol.asyncDispose]: () => workshop[Symbol.asyncDispose](),
  };
}
