/** Calls that wait for somebody, as a step's commit makes them. */
import type { AgentInput } from "../../contract/agents.ts";
import type { SessionEvent } from "../../contract/events.ts";
import { type CallId, newId, type SessionId } from "../../contract/ids.ts";
import { DecideApproval } from "../../contract/waits.ts";
import { contentHash } from "../../store/content-hash.ts";
import type { Database } from "../../store/database.ts";
import { endStep, type MadeCall } from "../../store/steps.ts";
import { messagesAfter } from "../../store/transcript.ts";
import type { TurnIds } from "../../store/turns.ts";
import type { ApprovalRequest, QuestionRequest, ToolRequest, WaitRequest } from "../../store/waits.ts";
import { aMessage, anEnding, aSession, aStep, logOf } from "./store-builder.ts";

export const HOUR_MS = 3_600_000;
export const ARGUMENTS = { command: "rm -r build" };
export const ARGUMENTS_HASH = contentHash(ARGUMENTS);

export const approval = (rest: Partial<ApprovalRequest> = {}): ApprovalRequest => ({
  kind: "approval",
  reason: "bash changes the world",
  schema: {
    type: "object",
    properties: { command: { type: "string", minLength: 1 } },
    required: ["command"],
    additionalProperties: false,
  },
  argumentKinds: { command: "command" },
  changesWorld: true,
  ...rest,
});

export const question = (rest: Partial<QuestionRequest> = {}): QuestionRequest => ({
  kind: "question",
  question: "Which one?",
  allowFreeform: true,
  ...rest,
});

export const clientTool = (replay: ToolRequest["replay"] = "ask"): ToolRequest => ({ kind: "tool", replay });

export interface WaitingTurn {
  readonly ids: TurnIds;
  readonly sessionId: SessionId;
  readonly calls: readonly CallId[];
}

export interface Wanted {
  readonly name?: string;
  readonly agent?: AgentInput;
  readonly metadata?: Record<string, string>;
  readonly deadlineInMs?: number;
}

/** A turn whose first step has made one call for each of these requests. */
export async function aWaitingTurn(
  database: Database,
  requests: readonly WaitRequest[],
  wanted: Wanted = {},
): Promise<WaitingTurn> {
  const sessionId = await aSession(database, {
    ...(wanted.agent && { agent: wanted.agent }),
    ...(wanted.metadata && { metadata: wanted.metadata }),
  });
  const ids = await aMessage(database, sessionId);
  const calls = requests.map((request) => waitingCall(request, wanted));
  await endStep(database, await aStep(database, ids), anEnding(calls));
  return { ids, sessionId, calls: calls.map(({ block }) => block.callId) };
}

function waitingCall(request: WaitRequest, { name = "bash", deadlineInMs = HOUR_MS }: Wanted): MadeCall {
  return {
    block: { type: "tool_call", callId: newId("call"), name, arguments: ARGUMENTS },
    wait: { deadline: Date.now() + deadlineInMs, request },
  };
}

/** A body as the API parses it. */
export function decide(decision: "approve" | "deny", rest: Partial<DecideApproval> = {}): DecideApproval {
  return DecideApproval.parse({ decision, ...rest });
}

/** What the log says of a call. */
export async function factsOf(
  database: Database,
  sessionId: SessionId,
  callId: CallId,
): Promise<readonly SessionEvent[]> {
  return (await logOf(database, sessionId)).filter(
    (event) => "callId" in event && event.callId === callId && !event.type.startsWith("block."),
  );
}

/** The call's row, and its result in the transcript. */
export async function callOf(database: Database, sessionId: SessionId, callId: CallId) {
  const row = await database.read.selectFrom("tool_calls").selectAll().where("id", "=", callId).executeTakeFirst();
  const blocks = (await messagesAfter(database, sessionId, { after: 0 })).flatMap(({ message }) => message.blocks);
  const results = blocks.filter((block) => block.type === "tool_result" && block.callId === callId);
  return { row, results };
}

export async function statusOf(database: Database, sessionId: SessionId): Promise<string | undefined> {
  const row = await database.read
    .selectFrom("sessions")
    .select("status")
    .where("id", "=", sessionId)
    .executeTakeFirst();
  return row?.status;
}
