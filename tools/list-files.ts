/** The tool `list_files`: what is in a folder and below, without the insides of folders that only tools read. */
import { z } from "zod";
import { LIMITS } from "../contract/limits.ts";
import type { FileEntry, Sandbox } from "../sandbox/provider.ts";
import { SandboxError } from "../sandbox/provider.ts";
import { refusalsAsResults } from "./failure.ts";
import type { Tool, ToolContext, ToolResult } from "./tool.ts";

const { default: depthDefault, max: depthMax } = LIMITS.listDepth;
/** Named, but not listed, unless the path leads into them. */
export const UNLISTED_FOLDERS: readonly string[] = [".git", "node_modules"];

const Parameters = z.strictObject({
  path: z.string().min(1).default(".").describe("The folder, relative to the workspace. Default: the workspace."),
  depth: z.int().min(1).max(depthMax).default(depthDefault).describe(`Levels to go down. Default ${depthDefault}.`),
});

export const listFiles: Tool<typeof Parameters> = {
  name: "list_files",
  description:
    "Lists files and folders with their sizes in bytes. Folders end in /. " +
    `What is in ${UNLISTED_FOLDERS.join(" and ")} is left out unless you list it itself.`,
  parameters: Parameters,
  replay: "safe",
  quick: true,
  changesFiles: false,
  changesWorld: false,
  argumentKinds: { path: "path" },
  summary: ({ path }) => `list_files: ${path}`,
  run: (args, context) => refusalsAsResults(() => list(args, context)),
};

async function list({ path, depth }: z.output<typeof Parameters>, { sandbox }: ToolContext): Promise<ToolResult> {
  const entries: FileEntry[] = [];
  await collect(sandbox, { path, depth }, entries);
  if (entries.length === 0) return { outcome: "ok", text: `(${path} is empty)` };
  const shown: string[] = [];
  let left = LIMITS.toolResultBytes - 512;
  for (const entry of entries.slice(0, LIMITS.listEntriesMax)) {
    const line = lineOf(entry);
    left -= Buffer.byteLength(line) + 1;
    if (left < 0) break;
    shown.push(line);
  }
  if (shown.length < entries.length) {
    shown.push(`[more than these ${shown.length} entries; list a folder below, or with a smaller depth]`);
  }
  return { outcome: "ok", text: shown.join("\n") };
}

/** Level by level, so that the folders that are left out are never walked. Ends one entry beyond the bound. */
async function collect(
  sandbox: Sandbox,
  { path, depth }: { readonly path: string; readonly depth: number },
  entries: FileEntry[],
): Promise<void> {
  const max = LIMITS.listEntriesMax + 1 - entries.length;
  for (const entry of await sandbox.listFiles(path, { depth: 1, max })) {
    if (entries.length > LIMITS.listEntriesMax) return;
    entries.push(entry);
    const isListed = !UNLISTED_FOLDERS.includes(entry.path.split("/").at(-1) ?? "");
    if (entry.kind === "folder" && depth > 1 && isListed) {
      await collect(sandbox, { path: entry.path, depth: depth - 1 }, entries).catch(ignoreGone);
    }
  }
}

/** A folder that was removed meanwhile or may not be read does not hide the others. */
function ignoreGone(thrown: unknown): void {
  const kind = thrown instanceof SandboxError ? thrown.kind : undefined;
  if (kind !== "not_found" && kind !== "denied") throw thrown;
}

function lineOf({ path, kind, bytes }: FileEntry): string {
  switch (kind) {
    case "folder":
      return `${path}/`;
    case "file":
      return `${path} (${bytes})`;
    case "symlink":
      return `${path} (symlink)`;
    case "other":
      return `${path} (not a regular file)`;
  }
}
