/** What a turn waits for from outside: a person's approval, a person's answer, a result of a tool that the caller runs. */
import { z } from "zod";
import { AgentRef } from "./agents.ts";
import { CallId, GrantId, SessionId, TurnId } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { ArgumentPatterns } from "./policy.ts";

export const WaitKind = z.enum(["approval", "question", "tool"]).meta({ id: "WaitKind" });
export type WaitKind = z.infer<typeof WaitKind>;

/** pending: it waits. decided: somebody said. cancelled: its turn ended first. */
export const WaitState = z.enum(["pending", "decided", "cancelled"]).meta({ id: "WaitState" });
export type WaitState = z.infer<typeof WaitState>;

/** Who ended a wait: a person or caller, its deadline, the end of its turn, or (approvals) a decision remembered from before. */
export const DecidedBy = z.enum(["person", "deadline", "stop", "grant"]).meta({ id: "DecidedBy" });
export type DecidedBy = z.infer<typeof DecidedBy>;

/** once: this call. session, project, always: the same call again, here, in sessions of the same metadata.project, anywhere. */
export const ApprovalScope = z.enum(["once", "session", "project", "always"]).meta({ id: "ApprovalScope" });
export type ApprovalScope = z.infer<typeof ApprovalScope>;

const Reason = z.string().min(1).max(LIMITS.reasonCharactersMax);
const ArgumentsHash = z.string().regex(/^[0-9a-f]{64}$/, "expected a SHA-256, 64 hexadecimal digits");

/** Body of `POST …/approvals/:callId`. */
export const DecideApproval = z
  .strictObject({
    decision: z.enum(["approve", "deny"]),
    reason: Reason.optional().meta({ description: "Of a denial: told to the model." }),
    arguments: z
      .record(z.string(), z.unknown())
      .optional()
      .meta({ description: "Run it with these instead; they must fit the tool's schema. Only with approve." }),
    argumentsHash: ArgumentsHash.optional().meta({
      description: "Of the arguments that were looked at; the decision is refused when the call has others.",
    }),
    scope: ApprovalScope.default("once"),
    match: ArgumentPatterns.optional().meta({
      description:
        "What is remembered, as patterns like a policy rule's; they must match this call. Default: exactly these arguments.",
    }),
  })
  .meta({ id: "DecideApproval" });
export type DecideApproval = z.infer<typeof DecideApproval>;

/** Body of `POST …/answers/:callId`. */
export const AnswerQuestion = z
  .strictObject({
    answer: z.string().min(1).max(LIMITS.answerCharactersMax).optional(),
    choice: z.number().int().nonnegative().optional().meta({ description: "Index into choices, instead of answer." }),
  })
  .refine((body) => (body.answer === undefined) !== (body.choice === undefined), "expected either answer or choice")
  .meta({ id: "AnswerQuestion" });
export type AnswerQuestion = z.infer<typeof AnswerQuestion>;

/** Body of `POST …/tool-results/:callId`. */
export const PostToolResult = z
  .strictObject({
    outcome: z.enum(["ok", "error"]).default("ok"),
    result: z.unknown().meta({ description: "Any JSON; a text is shown to the model as it is." }),
  })
  .refine((body) => body.result !== undefined, { path: ["result"], message: "expected a result, any JSON value" })
  .meta({ id: "PostToolResult" });
export type PostToolResult = z.infer<typeof PostToolResult>;

const Decided = {
  by: DecidedBy,
  at: z.number().int(),
};

/** The decision that stands, in its answer, in a listing and in the `first` of a 409. */
export const ApprovalDecision = z
  .object({
    decision: z.enum(["approve", "deny"]),
    ...Decided,
    scope: ApprovalScope,
    reason: z.string().optional(),
    arguments: z.record(z.string(), z.unknown()).optional().meta({ description: "Set when they were edited." }),
    grantId: GrantId.optional().meta({ description: "What is remembered of it." }),
  })
  .meta({ id: "ApprovalDecision" });
export type ApprovalDecision = z.infer<typeof ApprovalDecision>;

export const QuestionAnswer = z
  .object({ answer: z.string().nullable(), choice: z.number().int().optional(), ...Decided })
  .meta({ id: "QuestionAnswer" });
export type QuestionAnswer = z.infer<typeof QuestionAnswer>;

export const ToolResultGiven = z
  .object({ outcome: z.enum(["ok", "error", "unknown", "interrupted"]), ...Decided })
  .meta({ id: "ToolResultGiven" });
export type ToolResultGiven = z.infer<typeof ToolResultGiven>;

const Waiting = {
  sessionId: SessionId,
  turnId: TurnId,
  callId: CallId,
  name: z.string(),
  arguments: z.unknown().meta({ description: "Exactly as they would run." }),
  argumentsHash: z.string(),
  state: WaitState,
  requestedAt: z.number().int(),
  deadline: z.number().int(),
};

/** One approval, as listed over all sessions. */
export const Approval = z
  .object({
    ...Waiting,
    reason: z.string(),
    agent: z.string(),
    agentRef: AgentRef.nullable(),
    sessionTitle: z.string().nullable(),
    decision: ApprovalDecision.nullable(),
  })
  .meta({ id: "Approval" });
export type Approval = z.infer<typeof Approval>;

export const ApprovalList = z
  .object({
    approvals: z.array(Approval),
    next: z
      .string()
      .nullable()
      .meta({ description: "null at the end. A page of large arguments may be shorter than its limit." }),
  })
  .meta({ id: "ApprovalList" });
export type ApprovalList = z.infer<typeof ApprovalList>;

/** A question to a person, as the tool `ask_user` puts it. */
export const Question = z.object({
  question: z.string(),
  choices: z.array(z.string()).optional(),
  allowFreeform: z.boolean(),
});
export type Question = z.infer<typeof Question>;

/** Answers of the three posts. */
export const DecisionTaken = ApprovalDecision.extend({ callId: CallId }).meta({ id: "DecisionTaken" });
export type DecisionTaken = z.infer<typeof DecisionTaken>;
export const AnswerTaken = QuestionAnswer.extend({ callId: CallId }).meta({ id: "AnswerTaken" });
export type AnswerTaken = z.infer<typeof AnswerTaken>;
export const ToolResultTaken = ToolResultGiven.extend({ callId: CallId }).meta({ id: "ToolResultTaken" });
export type ToolResultTaken = z.infer<typeof ToolResultTaken>;

/** A remembered decision: calls of this tool with these arguments, in its scope, are decided without asking. */
export const Grant = z
  .object({
    id: GrantId,
    scope: ApprovalScope.exclude(["once"]),
    sessionId: SessionId.nullable().meta({ description: "Of scope session." }),
    project: z.string().nullable().meta({ description: "Of scope project." }),
    tool: z.string(),
    action: z.enum(["allow", "deny"]),
    match: ArgumentPatterns.nullable().meta({ description: "null: exactly the arguments with argumentsHash." }),
    argumentsHash: z.string().nullable(),
    reason: z.string().nullable(),
    callId: CallId.meta({ description: "The call whose decision is remembered." }),
    createdAt: z.number().int(),
    revokedAt: z.number().int().nullable(),
  })
  .meta({ id: "Grant" });
export type Grant = z.infer<typeof Grant>;

export const GrantList = z.object({ grants: z.array(Grant), next: z.string().nullable() }).meta({ id: "GrantList" });
export type GrantList = z.infer<typeof GrantList>;

/** What becomes of a call whose wait has ended: it is run, it waits for something else, or it has its result already. */
export type WaitVerdict =
  | { readonly next: "run" }
  | { readonly next: "wait"; readonly kind: WaitKind; readonly deadline: number }
  | { readonly next: "over" };
