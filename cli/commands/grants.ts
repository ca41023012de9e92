/** `perdure grants` and `perdure revoke`: decisions that are remembered, and how to take them back. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { GrantId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { ApprovalScope, type Grant } from "../../contract/waits.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { readPages, tableRow } from "../pages.ts";
import { agoText } from "../quantities.ts";
import { safeJson, safeLine } from "../terminal-text.ts";
import { type ApiOptions, apiClient, integerFrom, sessionId, withApi } from "./api-command.ts";

interface GrantsOptions extends ApiOptions {
  readonly scope?: string;
  readonly session?: string;
  readonly tool?: string;
  readonly revoked: boolean;
  readonly limit: number;
  readonly json: boolean;
}

const LIMIT_DEFAULT = 50;
const COLUMNS = [25, 10, 6, 14, 34] as const;
const NAME_CHARACTERS = 14;
const SCOPE_CHARACTERS = 34;
const CALLS_CHARACTERS = 100;

export function addGrants(program: Command, io: Io, end: (exitCode: number) => void): void {
  const scope = new Option("--scope <scope>", "only those remembered so");
  const grants = program
    .command("grants")
    .description("List remembered decisions, newest first.")
    .addOption(scope.choices(ApprovalScope.exclude(["once"]).options))
    .option("--session <session>", "only those remembered for this session", sessionId)
    .option("--tool <tool>", "only those for this tool")
    .option("--revoked", "those that count no more", false)
    .option("--limit <n>", "at most so many", integerFrom(1), LIMIT_DEFAULT)
    .option("--json", "print each as one line of JSON", false);
  withApi(grants).action(async (options: GrantsOptions) => {
    await show(io, options);
    end(EXIT.completed);
  });
  const revoke = program
    .command("revoke")
    .description("Take a remembered decision back: such calls are asked about again.")
    .argument("<grant>", "the grant's id", grantId);
  withApi(revoke).action(async (id: string, options: ApiOptions) => {
    await apiClient(options, io.env).revokeGrant(id);
    io.stdout.write(`${id} counts no more\n`);
    end(EXIT.completed);
  });
}

async function show(io: Io, options: GrantsOptions): Promise<void> {
  const client = apiClient(options, io.env);
  const { scope, session, tool, revoked } = options;
  const { items, hasMore } = await readPages(options.limit, LIMITS.approvalsPerPage.max, async (query) => {
    const page = await client.listGrants({ ...query, scope, sessionId: session, tool, revoked });
    return { items: page.grants, next: page.next };
  });
  if (options.json) for (const grant of items) io.stdout.write(`${safeJson(JSON.stringify(grant))}\n`);
  else if (items.length === 0) io.stderr.write("no remembered decisions\n");
  else {
    io.stdout.write(`${tableRow(COLUMNS, ["GRANT", "MADE", "DOES", "TOOL", "WHERE", "CALLS"])}\n`);
    for (const grant of items) io.stdout.write(`${lineOf(grant)}\n`);
  }
  if (hasMore) io.stderr.write(`there are more: --limit ${items.length * 2}\n`);
}

function lineOf(grant: Grant): string {
  const where = { session: `session ${grant.sessionId}`, project: `project ${grant.project}`, always: "everywhere" };
  const patterns = Object.entries(grant.match ?? {}).map(([name, pattern]) => `${name}=${pattern}`);
  const calls = grant.match === null ? `exactly as ${grant.callId}` : patterns.join("  ");
  return tableRow(COLUMNS, [
    grant.id,
    agoText(grant.createdAt),
    grant.action,
    safeLine(grant.tool, NAME_CHARACTERS),
    safeLine(where[grant.scope], SCOPE_CHARACTERS),
    safeLine(calls, CALLS_CHARACTERS),
  ]);
}

function grantId(text: string): GrantId {
  const read = GrantId.safeParse(text);
  if (read.success) return read.data;
  throw new InvalidArgumentError("A grant's id is grant_ and letters, digits, _ or -; `perdure grants` lists them.");
}
