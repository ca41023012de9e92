/** The table of built-in tools, what of it a model is told, and how what a model asks for is checked. */
import { z } from "zod";
import type { BuiltInTool } from "../contract/agents.ts";
import { cutText } from "../contract/cut-text.ts";
import { LIMITS } from "../contract/limits.ts";
import type { ArgumentIssue, CheckedArguments } from "../schemas/arguments.ts";
import { askUser } from "./ask-user.ts";
import { bash } from "./bash.ts";
import { editFile } from "./edit-file.ts";
import { grep } from "./grep.ts";
import { listFiles } from "./list-files.ts";
import { readFile } from "./read-file.ts";
import type { Tool } from "./tool.ts";
import { writeFile } from "./write-file.ts";

const BUILT_IN: Readonly<Record<BuiltInTool, Tool>> = {
  bash,
  read_file: readFile,
  write_file: writeFile,
  edit_file: editFile,
  list_files: listFiles,
  grep,
  ask_user: askUser,
};

/** A tool as a model is told of it. */
export interface DeclaredTool {
  readonly name: string;
  readonly description: string;
  /** JSON schema. */
  readonly parameters: Record<string, unknown>;
}

/** The tools of one worker: the built-in ones, and those that were loaded beside them. */
export interface Toolbox {
  readonly tools: readonly Tool[];
  find(name: string): Tool | undefined;
  /** The declarations of these tools, without those that are not here; for one name always the same object. */
  declarations(names: readonly string[]): readonly DeclaredTool[];
}

/** Throws an Error when a name is there twice. */
export function createToolbox(added: readonly Tool[] = []): Toolbox {
  const tools = [...Object.values(BUILT_IN), ...added];
  const byName = new Map<string, { readonly tool: Tool; readonly declaration: DeclaredTool }>();
  for (const tool of tools) {
    if (byName.has(tool.name)) throw new Error(`there are two tools named ${tool.name}`);
    byName.set(tool.name, { tool, declaration: declare(tool) });
  }
  return {
    tools,
    find: (name) => byName.get(name)?.tool,
    declarations: (names) =>
      names.flatMap((name) => {
        const found = byName.get(name);
        return found ? [found.declaration] : [];
      }),
  };
}

function declare({ name, description, parameters, jsonSchema }: Tool): DeclaredTool {
  if (jsonSchema) return { name, description, parameters: { ...jsonSchema } };
  // As a model may write it: what has a default may be left out.
  const { $schema, ...schema } = z.toJSONSchema(parameters, { io: "input" });
  return { name, description, parameters: schema };
}

type ParsedArguments = { readonly args: unknown } | { readonly error: string };

/** The arguments of a call with their defaults, or words for the model that name every wrong place. */
export function parseArguments(tool: Tool, raw: unknown): ParsedArguments {
  const refusal = misshapen(tool, raw);
  if (refusal !== undefined) return { error: refusal };
  const given = tool.parameters.safeParse(raw);
  const parsed = given.success ? given : tool.parameters.safeParse(withoutNulls(raw as Arguments));
  return parsed.success ? { args: parsed.data } : { error: wrong(tool, parsed.error.issues) };
}

/** Checks with a schema where that keeps nobody waiting. */
export type ElsewhereCheck = (schema: Arguments, raw: Arguments) => Promise<CheckedArguments>;

/** The same, but what a schema of somebody else's may make of them is found out elsewhere. */
export async function parseArgumentsBy(check: ElsewhereCheck, tool: Tool, raw: unknown): Promise<ParsedArguments> {
  const { hardSchema } = tool;
  if (hardSchema === undefined) return parseArguments(tool, raw);
  const refusal = misshapen(tool, raw);
  if (refusal !== undefined) return { error: refusal };
  const given = raw as Arguments;
  const checked = await check(hardSchema, given);
  if ("value" in checked) return { args: checked.value };
  const hasNulls = Object.values(given).includes(null);
  const again = hasNulls ? await check(hardSchema, withoutNulls(given)) : checked;
  return "value" in again ? { args: again.value } : { error: wrong(tool, again.issues) };
}

type Arguments = Readonly<Record<string, unknown>>;

/** Before any schema sees them: what is too long is not looked at. */
function misshapen(tool: Tool, raw: unknown): string | undefined {
  if (!isRecord(raw)) {
    const text = typeof raw === "string" ? raw : (JSON.stringify(raw) ?? "nothing");
    const shown = text.length > SHOWN_CHARACTERS ? `${cutText(text, SHOWN_CHARACTERS)}…` : text;
    return `The arguments of ${tool.name} are not a JSON object: ${shown}\nSend one JSON object.`;
  }
  if (Buffer.byteLength(JSON.stringify(raw)) <= LIMITS.toolArgumentsBytes) return undefined;
  return `The arguments of ${tool.name} are too long: expected at most ${LIMITS.toolArgumentsBytes} bytes.`;
}

function wrong(tool: Tool, issues: readonly ArgumentIssue[]): string {
  const problems = issues.slice(0, PROBLEMS_MAX).map(problemOf);
  return `The arguments of ${tool.name} are wrong, so it did not run:\n${problems.join("\n")}`;
}

const SHOWN_CHARACTERS = 500;
const PROBLEMS_MAX = 20;

function isRecord(raw: unknown): raw is Readonly<Record<string, unknown>> {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}

/** Some models write null for what they leave out. */
function withoutNulls(raw: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== null));
}

function problemOf({ path, message }: ArgumentIssue): string {
  const place = path.length === 0 ? "arguments" : path.map(String).join(".");
  return `- ${place}: ${message.replace(/^Invalid input: /, "")}`;
}
