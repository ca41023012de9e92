/**
 * The gate before a call: whether it can be run at all, and what the session's pinned policy says of it.
 *
 * It is decided here, within the step, and committed with it: so a policy that changes later changes no call that was made.
 */
import { HANDOFF_PREFIX, type Handoff } from "../contract/agents.ts";
import type { ToolCallBlock } from "../contract/blocks.ts";
import { cutText } from "../contract/cut-text.ts";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { PlannedCall, PlannedWait } from "../contract/steps.ts";
import { hiddenIn } from "../contract/visible-text.ts";
import type { Grant, Question } from "../contract/waits.ts";
import type { CallToJudge } from "../policy/policy.ts";
import { contentHash } from "../store/content-hash.ts";
import type { Database } from "../store/database.ts";
import { activeGrants } from "../store/grants.ts";
import type { SessionSetup } from "../store/session-setup.ts";
import type { MadeCall } from "../store/steps.ts";
import type { WaitRequest } from "../store/waits.ts";
import { judgeCall, matchRemembered } from "../threads/judgement.ts";
import type { Toolbox } from "../tools/registry.ts";
import { type CallableTool, callableTool, toolNames } from "./callable-tools.ts";

export interface Gatekeeper {
  readonly database: Database;
  readonly tools: Toolbox;
  readonly sessionId: SessionId;
  readonly setup: SessionSetup;
}

/** A call as the step commits it; planned when the workflow has something to do for it. */
export interface GatedCall {
  readonly made: MadeCall;
  readonly planned?: PlannedCall;
}

/** Decides one call. `before` are the calls of the same reply that were decided before it. */
export async function gateCall(
  gatekeeper: Gatekeeper,
  call: { readonly block: ToolCallBlock; readonly before: readonly MadeCall[] },
): Promise<GatedCall> {
  const { block } = call;
  const handoff = handoffOf(gatekeeper.setup, block);
  if (handoff) return await handOver(gatekeeper, { ...call, handoff });
  const tool = callableTool(gatekeeper.tools, gatekeeper.setup, block.name);
  if (!tool) return answered(block, "error", noSuchTool(gatekeeper, block));
  const parsed = await tool.parse(block.arguments, gatekeeper.sessionId);
  if ("error" in parsed) return answered(block, "error", parsed.error);
  const judged = callToJudge(tool, block);
  const verdict = await judgeCall(gatekeeper.setup.agent.policy, judged, gatekeeper.sessionId);
  if (verdict.action === "deny") return answered(block, "denied", denial(verdict.reason));
  // A question is put to a person anyway: asking whether to ask is of no use to anybody.
  if (verdict.action === "allow" || tool.kind === "question") return allowed(gatekeeper, { block, tool });
  return await askFor(gatekeeper, { block, tool, judged, reason: verdict.reason });
}

function handoffOf(setup: SessionSetup, block: ToolCallBlock): Handoff | undefined {
  if (!block.name.startsWith(HANDOFF_PREFIX)) return undefined;
  return setup.agent.handoffs.find(({ agent }) => block.name === HANDOFF_PREFIX + agent);
}

/** The profile lists whom it may hand over to; so only a rule that denies it stands in the way. */
async function handOver(
  { setup, sessionId }: Gatekeeper,
  call: { readonly block: ToolCallBlock; readonly before: readonly MadeCall[]; readonly handoff: Handoff },
): Promise<GatedCall> {
  const { block, handoff, before } = call;
  const args = typeof block.arguments === "string" ? {} : block.arguments;
  const flags = { argumentKinds: {}, changesWorld: false, needsApproval: false };
  const verdict = await judgeCall(setup.agent.policy, { tool: block.name, arguments: args, ...flags }, sessionId);
  if (verdict.action === "deny") return answered(block, "denied", denial(verdict.reason));
  if (before.some((made) => made.handOver)) {
    return answered(block, "error", "This reply has handed over already; only one handoff goes at a time.");
  }
  if (handoff.version === undefined) throw new Error(`the handoff to ${handoff.agent} has no pinned version`);
  const text = `The conversation is now with ${handoff.agent}.`;
  const made = { block, answer: { outcome: "ok" as const, text } };
  return { made: { ...made, handOver: { id: handoff.agent, version: handoff.version } } };
}

async function askFor(
  gatekeeper: Gatekeeper,
  call: {
    readonly block: ToolCallBlock;
    readonly tool: CallableTool;
    readonly judged: CallToJudge;
    readonly reason: string;
  },
): Promise<GatedCall> {
  const { block, tool, judged, reason } = call;
  const { agent } = gatekeeper.setup;
  const grant = await findGrant(gatekeeper, block, judged);
  if (grant) return await byGrant(gatekeeper, { block, tool, grant });
  if (agent.approver === "none") {
    return answered(block, "denied", denial(`it needs a person's approval, and nobody can be asked here; ${reason}`));
  }
  const request: WaitRequest = {
    kind: "approval",
    reason: withHidden(reason, block.arguments),
    schema: { ...tool.schema },
    argumentKinds: { ...tool.argumentKinds },
    changesWorld: tool.changesWorld,
    ...(tool.kind === "client" && { tool: { timeoutMs: tool.timeoutMs, replay: tool.replay } }),
  };
  return waiting({ block, tool, request, deadline: Date.now() + agent.limits.approvalTimeoutMs });
}

/** Whoever decides may look at the arguments where such characters do not show. */
function withHidden(reason: string, args: unknown): string {
  const texts: string[] = [];
  JSON.stringify(args, (name, value: unknown) => {
    texts.push(name, ...(typeof value === "string" ? [value] : []));
    return value;
  });
  const hidden = hiddenIn(texts.join("\n").replaceAll("\r\n", "\n"));
  if (hidden === "") return reason;
  const said = `the arguments hold characters that do not show, or show as others: ${hidden}; `;
  return cutText(`${said}${reason}`, LIMITS.reasonCharactersMax);
}

async function findGrant(
  { database, sessionId, setup }: Gatekeeper,
  block: ToolCallBlock,
  judged: CallToJudge,
): Promise<Grant | undefined> {
  const grants = await activeGrants(database, { sessionId, project: setup.project, tool: block.name });
  if (grants.length === 0) return undefined;
  const hash = contentHash(block.arguments);
  const exact = grants.filter(({ match, argumentsHash }) => match === null && argumentsHash === hash);
  const patterned = grants.flatMap((grant) => (grant.match === null ? [] : [{ ...grant, match: grant.match }]));
  const covers = await matchRemembered(patterned, judged, sessionId);
  const fits: readonly Grant[] = grants.filter(
    (grant) => exact.includes(grant) || covers[patterned.findIndex(({ id }) => id === grant.id)] === true,
  );
  // Of two remembered decisions that contradict each other the cautious one stands.
  return fits.find(({ action }) => action === "deny") ?? fits[0];
}

async function byGrant(
  gatekeeper: Gatekeeper,
  call: { readonly block: ToolCallBlock; readonly tool: CallableTool; readonly grant: Grant },
): Promise<GatedCall> {
  const { block, grant } = call;
  const gated =
    grant.action === "allow"
      ? allowed(gatekeeper, call)
      : answered(block, "denied", denial(grant.reason ?? "a person denied this call before, and it is remembered"));
  const decided = {
    decision: grant.action === "allow" ? ("approve" as const) : ("deny" as const),
    by: "grant" as const,
    scope: grant.scope,
    argumentsHash: contentHash(block.arguments),
    grantId: grant.id,
    ...(grant.reason !== null && { reason: grant.reason }),
  };
  return { ...gated, made: { ...gated.made, decided } };
}

/** A call that nobody need approve: it is run, or it waits for its answer, or for the caller who runs it. */
function allowed(
  { setup }: Gatekeeper,
  { block, tool }: { readonly block: ToolCallBlock; readonly tool: CallableTool },
): GatedCall {
  const now = Date.now();
  switch (tool.kind) {
    case "worker":
      return {
        made: { block },
        planned: { callId: block.callId, name: tool.name, quick: tool.quick, summary: tool.summary(block.arguments) },
      };
    case "client":
      return waiting({
        block,
        tool,
        request: { kind: "tool", replay: tool.replay },
        deadline: now + tool.timeoutMs,
      });
    case "question":
      return waiting({
        block,
        tool,
        request: questionOf(tool.question(block.arguments)),
        deadline: now + setup.agent.limits.questionTimeoutMs,
      });
  }
}

function questionOf({ question, choices = [], allowFreeform }: Question): WaitRequest {
  return { kind: "question", question, allowFreeform, ...(choices.length > 0 && { choices }) };
}

function waiting(call: {
  readonly block: ToolCallBlock;
  readonly tool: CallableTool;
  readonly request: WaitRequest;
  readonly deadline: number;
}): GatedCall {
  const { block, tool, request, deadline } = call;
  const wait: PlannedWait = { kind: request.kind, deadline };
  return {
    made: { block, wait: { deadline, request } },
    // Never quick: what has been approved is run by an activity of its own.
    planned: { callId: block.callId, name: tool.name, quick: false, summary: tool.summary(block.arguments), wait },
  };
}

function answered(block: ToolCallBlock, outcome: "error" | "denied", text: string): GatedCall {
  return { made: { block, answer: { outcome, text } } };
}

function denial(reason: string): string {
  return `This call was denied and did not run: ${reason}. Do not try it again in another way.`;
}

function callToJudge(tool: CallableTool, block: ToolCallBlock): CallToJudge {
  return {
    tool: tool.name,
    arguments: typeof block.arguments === "string" ? {} : block.arguments,
    argumentKinds: tool.argumentKinds,
    changesWorld: tool.changesWorld,
    needsApproval: tool.needsApproval,
  };
}

function noSuchTool({ tools, setup }: Gatekeeper, block: ToolCallBlock): string {
  const names = toolNames(tools, setup);
  const have = names.length > 0 ? names.join(", ") : "none";
  return `There is no tool "${cutText(block.name, 100)}". The tools are: ${have}.`;
}
