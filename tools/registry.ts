/** The table of built-in tools, what of it a model is told, and how what a model asks for is checked. */
import { z } from "zod";
import type { ToolName } from "../contract/agents.ts";
import { LIMITS } from "../contract/limits.ts";
import { bash } from "./bash.ts";
import { editFile } from "./edit-file.ts";
import { grep } from "./grep.ts";
import { listFiles } from "./list-files.ts";
import { readFile } from "./read-file.ts";
import type { Tool } from "./tool.ts";
import { writeFile } from "./write-file.ts";

export const TOOLS: Readonly<Record<ToolName, Tool>> = {
  bash,
  read_file: readFile,
  write_file: writeFile,
  edit_file: editFile,
  list_files: listFiles,
  grep,
};

/** A tool as a model is told of it. */
export interface DeclaredTool {
  readonly name: string;
  readonly description: string;
  /** JSON schema. */
  readonly parameters: Record<string, unknown>;
}

/** The declarations of these tools; for one name always the same object. */
export function toolDeclarations(names: readonly ToolName[]): readonly DeclaredTool[] {
  return names.map((name) => DECLARATIONS[name]);
}

const DECLARATIONS: Readonly<Record<ToolName, DeclaredTool>> = {
  bash: declare(bash),
  read_file: declare(readFile),
  write_file: declare(writeFile),
  edit_file: declare(editFile),
  list_files: declare(listFiles),
  grep: declare(grep),
};

function declare({ name, description, parameters }: Tool): DeclaredTool {
  // As a model may write it: what has a default may be left out.
  const { $schema, ...schema } = z.toJSONSchema(parameters, { io: "input" });
  return { name, description, parameters: schema };
}

/** The arguments of a call with their defaults, or words for the model that name every wrong place. */
export function parseArguments(tool: Tool, raw: unknown): { readonly args: unknown } | { readonly error: string } {
  if (!isRecord(raw)) {
    const text = typeof raw === "string" ? raw : (JSON.stringify(raw) ?? "nothing");
    const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
    return { error: `The arguments of ${tool.name} are not a JSON object: ${shown}\nSend one JSON object.` };
  }
  const parsed = tool.parameters.safeParse(withoutNulls(raw));
  if (!parsed.success) {
    const problems = parsed.error.issues.slice(0, PROBLEMS_MAX).map(problemOf);
    return { error: `The arguments of ${tool.name} are wrong, so it did not run:\n${problems.join("\n")}` };
  }
  if (Buffer.byteLength(JSON.stringify(raw)) > LIMITS.toolArgumentsBytes) {
    return {
      error: `The arguments of ${tool.name} are too long: expected at most ${LIMITS.toolArgumentsBytes} bytes.`,
    };
  }
  return { args: parsed.data };
}

const SHOWN_CHARACTERS = 500;
const PROBLEMS_MAX = 20;

function isRecord(raw: unknown): raw is Readonly<Record<string, unknown>> {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}

/** Some models write null for what they leave out; no tool takes a null. */
function withoutNulls(raw: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== null));
}

function problemOf({ path, message }: z.core.$ZodIssue): string {
  const place = path.length === 0 ? "arguments" : path.map(String).join(".");
  return `- ${place}: ${message.replace(/^Invalid input: /, "")}`;
}
