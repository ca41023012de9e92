/** `perdure approvals`, `approve` and `deny`: what waits for a person in all sessions, and the person's decision. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { type Approval, ApprovalScope, type DecideApproval } from "../../contract/waits.ts";
import { argumentRows } from "../arguments-text.ts";
import { argumentsLine } from "../call-text.ts";
import { decisionText, rememberedText, withFirst } from "../decision-text.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { readPages, tableRow } from "../pages.ts";
import { agoText, durationText } from "../quantities.ts";
import { exactLine, safeJson, safeLine } from "../terminal-text.ts";
import { findApproval } from "../waiting-call.ts";
import { type ApiOptions, apiClient, integerFrom, sessionId, urlOption, withApi } from "./api-command.ts";

interface CallOptions extends ApiOptions {
  readonly session?: string;
  readonly json: boolean;
}

interface ListOptions extends CallOptions {
  readonly all: boolean;
  readonly limit: number;
}

interface DecideOptions extends CallOptions {
  readonly scope: ApprovalScope;
  readonly match: Readonly<Record<string, string>>;
  readonly arguments?: Record<string, unknown>;
  readonly reason?: string;
}

const LIMIT_DEFAULT = 50;
const COLUMNS = [24, 10, 26, 12, 14] as const;
const NAME_CHARACTERS = 14;
const ARGUMENTS_CHARACTERS = 60;
const WHY_CHARACTERS = 80;
const TEXT_CHARACTERS = 2_000;
const COLUMNS_DEFAULT = 120;

export function addApprovals(program: Command, io: Io, end: (exitCode: number) => void): void {
  const list = program
    .command("approvals")
    .description("List the calls that wait for an approval, or show one with all its arguments.")
    .argument("[call]", "a call's id, or its beginning")
    .option("--all", "also those that are decided, newest first", false)
    .option("--limit <n>", "at most so many", integerFrom(1), LIMIT_DEFAULT);
  withCall(list).action(async (call: string | undefined, options: ListOptions) => {
    if (call === undefined) await show(io, options);
    else await showOne(io, call, options);
    end(EXIT.completed);
  });
  const approve = program
    .command("approve")
    .description("Approve a call that waits, as it is or with other arguments.")
    .option("--arguments <json>", "run it with these instead", jsonObject);
  withDecision(approve).action(async (call: string, options: DecideOptions) => {
    await decide(io, { call, decision: "approve" }, options);
    end(EXIT.completed);
  });
  const deny = program.command("deny").description("Deny a call that waits.");
  withDecision(deny).action(async (call: string, options: DecideOptions) => {
    await decide(io, { call, decision: "deny" }, options);
    end(EXIT.completed);
  });
}

function withCall(command: Command): Command {
  const ofSession = command.option("--session <session>", "only of this session", sessionId);
  return withApi(ofSession.option("--json", "print JSON", false));
}

function withDecision(command: Command): Command {
  const scope = new Option("--scope <scope>", "for which further calls this is remembered");
  const decision = command
    .argument("<call>", "the call's id, or its beginning")
    .option("--reason <text>", "why; of a denial it is told to the agent")
    .addOption(scope.choices(ApprovalScope.options).default("once"))
    .option("--match <name=pattern>", "remember calls whose arguments match; once for each argument", pattern, {});
  return withCall(decision);
}

async function show(io: Io, options: ListOptions): Promise<void> {
  const client = apiClient(options, io.env);
  const status = options.all ? undefined : "pending";
  const { items, hasMore } = await readPages(options.limit, LIMITS.approvalsPerPage.max, async (query) => {
    const page = await client.listApprovals({ ...query, status, sessionId: options.session });
    return { items: page.approvals, next: page.next };
  });
  if (options.json) for (const approval of items) printJson(io, approval);
  else if (items.length === 0) io.stderr.write(options.all ? "no approvals\n" : "nothing waits for an approval\n");
  else {
    io.stdout.write(`${tableRow(COLUMNS, ["CALL", "ASKED", "SESSION", "AGENT", "TOOL", "ARGUMENTS"])}\n`);
    for (const approval of items) io.stdout.write(`${lineOf(approval)}\n`);
  }
  if (hasMore) io.stderr.write(`there are more: --limit ${items.length * 2}\n`);
}

function lineOf(approval: Approval): string {
  const { callId, requestedAt, reason, decision } = approval;
  const [agent, tool] = [approval.agent, approval.name].map((name) => safeLine(name, NAME_CHARACTERS));
  const args = exactLine(argumentsLine(approval.name, approval.arguments), ARGUMENTS_CHARACTERS);
  const more = decision ? decisionText(decision) : reason;
  const cells = [callId, agoText(requestedAt), approval.sessionId, agent ?? "", tool ?? ""];
  return tableRow(COLUMNS, [...cells, `${args}  (${safeLine(more, WHY_CHARACTERS)})`]);
}

/** All of it: what is cut in a list could be what matters. */
async function showOne(io: Io, call: string, options: ListOptions): Promise<void> {
  const approval = await findApproval(apiClient(options, io.env), { call, session: options.session });
  if (options.json) {
    printJson(io, approval);
    return;
  }
  const { callId, name, agent, requestedAt, deadline, decision, reason } = approval;
  const columns = io.stdout.columns ?? COLUMNS_DEFAULT;
  const { rows } = argumentRows(approval.arguments, { rowsMax: Number.POSITIVE_INFINITY, columns });
  const left = durationText(Math.max(0, deadline - Date.now()));
  const lines = [
    `${callId}  ${safeLine(name, TEXT_CHARACTERS)}  of session ${approval.sessionId}, agent ${safeLine(agent, TEXT_CHARACTERS)}`,
    ...rows,
    `why: ${safeLine(reason, TEXT_CHARACTERS)}`,
    decision ? decisionText(decision) : `asked ${agoText(requestedAt)}; denied in ${left} when nobody decides`,
  ];
  io.stdout.write(`${lines.join("\n")}\n`);
}

async function decide(
  io: Io,
  { call, decision }: { readonly call: string; readonly decision: DecideApproval["decision"] },
  options: DecideOptions,
): Promise<void> {
  const client = apiClient(options, io.env);
  const approval = await findApproval(client, { call, session: options.session });
  const { scope, match, reason } = options;
  const body = {
    ...{ decision, scope },
    // What was found is what is decided: a call that asks again meanwhile, with other arguments, is another one.
    argumentsHash: approval.argumentsHash,
    ...(reason !== undefined && { reason }),
    ...(options.arguments && { arguments: options.arguments }),
    ...(Object.keys(match).length > 0 && { match }),
  };
  try {
    const taken = await client.decideApproval(approval, body, { key: newId("msg") });
    if (options.json) {
      printJson(io, taken);
      return;
    }
    const verb = decision === "approve" ? "approved" : "denied";
    const args = argumentsLine(approval.name, taken.arguments ?? approval.arguments);
    const what = exactLine(`${approval.name} ${args}`, TEXT_CHARACTERS);
    io.stdout.write(`${verb} ${taken.callId} of session ${approval.sessionId}: ${what}\n`);
    const remembered = rememberedText(taken, urlOption(options));
    if (remembered !== undefined) io.stdout.write(`${remembered}\n`);
  } catch (error) {
    throw withFirst(error);
  }
}

function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${safeJson(JSON.stringify(value))}\n`);
}

function jsonObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`Expected a JSON object: ${(error as Error).message}.`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new InvalidArgumentError('Expected a JSON object such as {"command": "ls"}.');
}

function pattern(text: string, before: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const [, name, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return { ...before, [name]: value };
  throw new InvalidArgumentError("Expected an argument's name and a pattern, such as command='git *'.");
}
