/** `perdure agents`: what there is, one of them, its versions; and the files that they are made from. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import type { Agent } from "../../contract/agents.ts";
import type { AgentList, StoredAgent } from "../../contract/http.ts";
import { AgentId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { type AgentFileContent, AgentFileError, readAgentFile } from "../../store/agent-files.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { durationText } from "../quantities.ts";
import { safeJson, safeLine, safeText } from "../terminal-text.ts";
import { UsageError } from "../usage-error.ts";
import { type ApiOptions, apiClient, integerFrom, withApi } from "./api-command.ts";

interface JsonOptions extends ApiOptions {
  readonly json: boolean;
}
interface ListOptions extends JsonOptions {
  readonly limit: number;
}
interface FileOptions extends JsonOptions {
  readonly id?: string;
}
type Page = (query: { readonly limit: number; readonly cursor: string | undefined }) => Promise<AgentList>;

const LIMIT_DEFAULT = 50;
const COLUMNS = [24, 8, 10, 20] as const;
const TEXT_CHARACTERS = 60;
const LINE_CHARACTERS = 500;

export function addAgents(program: Command, io: Io, end: (exitCode: number) => void): void {
  const agents = program.command("agents").description("Agents: stored profiles, which sessions pin in one version.");
  const list = withList(agents.command("list", { isDefault: true }).description("List agents (the default)."));
  list.action(async (options: ListOptions) => {
    const client = apiClient(options, io.env);
    await showList(io, options, (query) => client.listAgents(query));
    end(EXIT.completed);
  });
  const versions = agents.command("versions").description("List the versions of an agent, newest first.");
  withList(withId(versions)).action(async (id: string, options: ListOptions) => {
    const client = apiClient(options, io.env);
    await showList(io, options, (query) => client.listAgentVersions(id, query));
    end(EXIT.completed);
  });
  const show = withId(agents.command("show").description("Show an agent."));
  const version = show.option("--version <n>", "this version (default: the newest)", integerFrom(1));
  withJson(version).action(async (id: string, options: JsonOptions & { readonly version?: number }) => {
    showOne(io, options, await apiClient(options, io.env).getAgent(id, options.version));
    end(EXIT.completed);
  });
  const remove = withId(agents.command("delete").description("Delete an agent; sessions that pin it go on."));
  withApi(remove).action(async (id: string, options: ApiOptions) => {
    await apiClient(options, io.env).deleteAgent(id);
    io.stdout.write(`agent ${id} is deleted; sessions that have it go on\n`);
    end(EXIT.completed);
  });
  addFiles(agents, io, end);
}

function addFiles(agents: Command, io: Io, end: (exitCode: number) => void): void {
  const create = agents
    .command("create")
    .description("Make an agent from a file: JSON, or Markdown with front matter.");
  withFile(create).action(async (file: string, options: FileOptions) => {
    const { id, profile } = await read(file, options.id);
    showKept(io, options, await apiClient(options, io.env).createAgent({ ...profile, id }));
    end(EXIT.completed);
  });
  const put = agents
    .command("put")
    .description("Make a new version of an agent from a file, when it says something new.");
  withFile(put).action(async (file: string, options: FileOptions) => {
    const { id, profile } = await read(file, options.id);
    showKept(io, options, await apiClient(options, io.env).putAgent(id, profile));
    end(EXIT.completed);
  });
}

function withId(command: Command): Command {
  return command.argument("<id>", "the agent's id", agentId);
}

function withJson(command: Command): Command {
  return withApi(command.option("--json", "print JSON, one line for each agent", false));
}

function withList(command: Command): Command {
  return withJson(command.option("--limit <n>", "at most so many", integerFrom(1), LIMIT_DEFAULT));
}

function withFile(command: Command): Command {
  const file = command.argument("<file>", "its name is the agent's id: coder.md, coder.json");
  return withJson(file.option("--id <id>", "the agent's id (default: the file's name)", agentId));
}

function agentId(text: string): AgentId {
  const read = AgentId.safeParse(text);
  if (read.success) return read.data;
  throw new InvalidArgumentError(`An agent's id is ${read.error.issues[0]?.message.replace("expected ", "")}.`);
}

/** What the file says. The API checks it: it knows what tools and backends there are. */
async function read(file: string, id: string | undefined): Promise<AgentFileContent> {
  const name = id === undefined ? path.basename(file) : id + path.extname(file);
  try {
    return readAgentFile(name, await readFile(file));
  } catch (error) {
    if (error instanceof AgentFileError) throw new UsageError(`${file}: ${error.message}`, { cause: error });
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

async function showList(io: Io, options: ListOptions, page: Page): Promise<void> {
  const found: StoredAgent[] = [];
  let cursor: string | undefined;
  do {
    const limit = Math.min(options.limit - found.length, LIMITS.agentsPerPage.max);
    const { agents, next } = await page({ limit, cursor });
    found.push(...agents);
    cursor = next ?? undefined;
  } while (cursor !== undefined && found.length < options.limit);
  if (options.json) for (const stored of found) printJson(io, stored);
  else table(io, found);
  if (cursor !== undefined) io.stderr.write(`there are more: --limit ${found.length * 2}\n`);
}

function table(io: Io, found: readonly StoredAgent[]): void {
  if (found.length === 0) {
    io.stderr.write("no agents; `perdure agents create <file>` makes one\n");
    return;
  }
  io.stdout.write(`${row("AGENT", "VERSION", "BACKEND", "MADE", "WHAT IT IS")}\n`);
  const now = Date.now();
  for (const { id, version, agent, createdAt, deletedAt } of found) {
    const made = `${durationText(Math.max(0, now - createdAt)).replace(/ \d+ (s|min)$/, "")} ago`;
    const what = safeLine(agent.description ?? agent.name, TEXT_CHARACTERS);
    io.stdout.write(
      `${row(id, String(version), safeLine(agent.backend, 10), made, deletedAt === null ? what : "(deleted)")}\n`,
    );
  }
}

function row(...cells: readonly string[]): string {
  return cells
    .map((cell, i) => cell.padEnd(COLUMNS[i] ?? 0))
    .join("  ")
    .trimEnd();
}

function showKept(io: Io, options: JsonOptions, stored: StoredAgent): void {
  if (options.json) printJson(io, stored);
  else io.stdout.write(`agent ${stored.id} is at version ${stored.version}\n`);
}

function showOne(io: Io, options: JsonOptions, stored: StoredAgent): void {
  if (options.json) {
    printJson(io, stored);
    return;
  }
  const { id, version, agent, source, deletedAt } = stored;
  io.stdout.write(
    `${id} · version ${version} · from ${safeLine(source, TEXT_CHARACTERS)}${deletedAt === null ? "" : " · deleted"}\n`,
  );
  for (const [name, value] of facts(agent))
    io.stdout.write(`  ${name.padEnd(13)}${safeLine(value, LINE_CHARACTERS)}\n`);
  if (agent.instructions !== undefined) io.stdout.write(`\n${safeText(agent.instructions)}\n`);
}

function facts(agent: Agent): readonly (readonly [name: string, value: string])[] {
  const { policy, handoffs, files, environment } = agent;
  const rules = policy
    ? `${policy.rules.length} rules, then ${policy.default ?? "ask before tools that change the world"}`
    : "";
  return [
    ["name", agent.name],
    ["description", agent.description ?? ""],
    ["backend", agent.backend],
    ["model", agent.model ?? ""],
    [
      "settings",
      Object.entries(agent.modelSettings)
        .map(([name, value]) => `${name} ${value}`)
        .join(", "),
    ],
    ["tools", agent.tools.join(", ")],
    ["policy", rules],
    ["hands over to", handoffs.map((handoff) => handoff.agent).join(", ")],
    ["files", files.map((file) => file.path).join(", ")],
    ["variables", Object.keys(environment).join(", ")],
  ].flatMap(([name = "", value = ""]) => (value === "" ? [] : [[name, value] as const]));
}

function printJson(io: Io, stored: StoredAgent): void {
  io.stdout.write(`${safeJson(JSON.stringify(stored))}\n`);
}
