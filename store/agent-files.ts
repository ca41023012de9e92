/**
 * Agents as files, as a folder of profiles and the command line have them: JSON, or Markdown with front matter and the
 * instructions as its text. Only read here; what they say is checked where agents are stored.
 */
import { parse } from "yaml";
import { AgentId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";

export interface AgentFileContent {
  /** The file's name without its ending. */
  readonly id: AgentId;
  /** As `PUT /v1/agents/:id` takes it. A file that gives no name has its id for one. */
  readonly profile: Readonly<Record<string, unknown>>;
}

/** The file is no agent's. The message says what was expected. */
export class AgentFileError extends Error {
  override readonly name = "AgentFileError";
}

const NAME = /^(.*)\.(json|md)$/;
const FENCE = "---";

/** Whether a file of this name is taken for an agent's. */
export function isAgentFile(name: string): boolean {
  return NAME.test(name) && !name.startsWith(".");
}

/**
 * @param name Of the file, without folders.
 * @throws AgentFileError
 */
export function readAgentFile(name: string, bytes: Uint8Array): AgentFileContent {
  const [, stem = "", ending] = NAME.exec(name) ?? [];
  if (ending === undefined) throw new AgentFileError("expected a name that ends in .json or .md");
  const id = AgentId.safeParse(stem);
  if (!id.success)
    throw new AgentFileError(`the name of the file is the agent's id: ${id.error.issues[0]?.message ?? ""}`);
  if (bytes.length > LIMITS.agentFileBytesMax) {
    throw new AgentFileError(`expected at most ${LIMITS.agentFileBytesMax} bytes; found ${bytes.length}`);
  }
  const text = decoded(bytes);
  const profile = ending === "json" ? fromJson(text) : fromMarkdown(text);
  return { id: id.data, profile: Object.hasOwn(profile, "name") ? profile : { name: stem, ...profile } };
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).replaceAll("\r\n", "\n"); // It drops a byte order mark.
  } catch (error) {
    throw new AgentFileError("expected text in UTF-8", { cause: error });
  }
}

function fromJson(text: string): Readonly<Record<string, unknown>> {
  try {
    return asObject(JSON.parse(text), "a JSON object");
  } catch (error) {
    throw error instanceof AgentFileError
      ? error
      : new AgentFileError(`expected JSON: ${words(error)}`, { cause: error });
  }
}

function fromMarkdown(text: string): Readonly<Record<string, unknown>> {
  const lines = text.split("\n");
  const end = lines.findIndex((line, i) => i > 0 && line.trimEnd() === FENCE);
  if (lines[0]?.trimEnd() !== FENCE || end === -1) {
    throw new AgentFileError("expected front matter: YAML between two lines of ---, and then the instructions");
  }
  const profile = fromYaml(lines.slice(1, end).join("\n"));
  const instructions = lines
    .slice(end + 1)
    .join("\n")
    .trim();
  if (instructions === "") return profile;
  if (Object.hasOwn(profile, "instructions")) {
    throw new AgentFileError("expected instructions in the front matter or in the text, not in both");
  }
  return { ...profile, instructions };
}

function fromYaml(matter: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    // The library bounds what aliases may unfold to by itself; warnings would go to the process's stderr.
    value = parse(matter, { logLevel: "error" });
  } catch (error) {
    throw new AgentFileError(`expected YAML in the front matter: ${words(error)}`, { cause: error });
  }
  return value === null ? {} : asObject(value, "a YAML mapping in the front matter");
}

function asObject(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new AgentFileError(`expected ${what}`);
}

/** The first line of what a parser says. */
function words(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? "";
}
