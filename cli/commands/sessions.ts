/** `perdure sessions`: what there is, newest first. */
import { type Command, Option } from "commander";
import { LIMITS } from "../../contract/limits.ts";
import { type Session, SessionStatus } from "../../contract/session.ts";
import type { Client } from "../client.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { durationText } from "../quantities.ts";
import { safeJson, safeLine } from "../terminal-text.ts";
import { type ApiOptions, apiClient, integerFrom, withApi } from "./api-command.ts";

interface SessionsOptions extends ApiOptions {
  readonly status?: SessionStatus;
  readonly limit: number;
  readonly json: boolean;
}

const LIMIT_DEFAULT = 20;
const COLUMNS = [26, 8, 12] as const;
const TITLE_CHARACTERS = 60;

export function addSessions(program: Command, io: Io, end: (exitCode: number) => void): void {
  const status = new Option("--status <status>", "only sessions in this state");
  const command = program
    .command("sessions")
    .description("List sessions, newest first.")
    .addOption(status.choices(SessionStatus.options))
    .option("--limit <n>", "at most so many", integerFrom(1), LIMIT_DEFAULT)
    .option("--json", "print each session as one line of JSON", false);
  withApi(command).action(async (options: SessionsOptions) => {
    end(await list(io, options));
  });
}

async function list(io: Io, options: SessionsOptions): Promise<number> {
  const { sessions, hasMore } = await newest(apiClient(options, io.env), options);
  if (options.json) {
    for (const session of sessions) io.stdout.write(`${safeJson(JSON.stringify(session))}\n`);
    return EXIT.completed;
  }
  if (sessions.length === 0) io.stderr.write("no sessions\n");
  else io.stdout.write(`${row("SESSION", "STATUS", "CHANGED", "TITLE")}\n`);
  const now = Date.now();
  for (const { id, status, updatedAt, title, agent } of sessions) {
    const changed = `${durationText(Math.max(0, now - updatedAt)).replace(/ \d+ (s|min)$/, "")} ago`;
    io.stdout.write(`${row(id, status, changed, safeLine(title ?? `(${agent.name})`, TITLE_CHARACTERS))}\n`);
  }
  if (hasMore) io.stderr.write(`there are more: --limit ${sessions.length * 2}\n`);
  return EXIT.completed;
}

/** Pages until there are as many as were asked for. */
async function newest(
  client: Client,
  { status, limit }: SessionsOptions,
): Promise<{ readonly sessions: readonly Session[]; readonly hasMore: boolean }> {
  const sessions: Session[] = [];
  let cursor: string | undefined;
  do {
    const pageLimit = Math.min(limit - sessions.length, LIMITS.sessionsPerPage.max);
    const page = await client.listSessions({ status, limit: pageLimit, cursor });
    sessions.push(...page.sessions);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && sessions.length < limit);
  return { sessions, hasMore: cursor !== undefined };
}

function row(...cells: readonly string[]): string {
  return cells
    .map((cell, i) => cell.padEnd(COLUMNS[i] ?? 0))
    .join("  ")
    .trimEnd();
}
