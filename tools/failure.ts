/** Turns what a sandbox refused into a result that the model can act on. */
import { SandboxError } from "../sandbox/provider.ts";
import type { ToolResult } from "./tool.ts";

export function failed(text: string): ToolResult {
  return { outcome: "error", text };
}

/** Runs a tool's work. A lost sandbox is not the model's doing, so it is thrown on; so is everything that is a bug of ours. */
export async function refusalsAsResults(work: () => Promise<ToolResult>): Promise<ToolResult> {
  try {
    return await work();
  } catch (thrown) {
    if (!(thrown instanceof SandboxError) || thrown.kind === "lost") throw thrown;
    return failed(`${thrown.message}.${ADVICE[thrown.kind]}`);
  }
}

const ADVICE: Record<Exclude<SandboxError["kind"], "lost">, string> = {
  not_found: " Use list_files to see what is there.",
  denied: " Paths are relative to the workspace, or absolute inside it.",
  is_folder: " Use list_files to see what is in it.",
  too_large: " Use bash with a command such as head, tail, sed -n or split.",
  failed: "",
};
