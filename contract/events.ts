/**
 * Session events: the durable, ordered record that clients replay.
 *
 * The union below is the only definition: the API's JSON, the stored rows and the TypeScript types all come from it.
 * Add a member; never change the meaning of one that has shipped.
 */
import { z } from "zod";
import { AgentRef } from "./agents.ts";
import { Content, ReplyBlock, ToolOutcome } from "./blocks.ts";
import { TurnCode } from "./errors.ts";
import { ArtifactId, CallId, GrantId, MessageId, SandboxId, SnapshotId, TerminalId, TurnId } from "./ids.ts";
import { Usage } from "./usage.ts";
import { ApprovalScope, DecidedBy } from "./waits.ts";

/**
 * `queue`: after the turns before it. `steer`: joins the running turn at its next step; with no turn running, one of its own.
 * `interrupt`: the running turn is stopped, and this message goes next.
 */
export const MessageMode = z.enum(["queue", "steer", "interrupt"]).meta({ id: "MessageMode" });
export type MessageMode = z.infer<typeof MessageMode>;

const inTurn = { turnId: TurnId };
const inStep = { turnId: TurnId, step: z.number().int().positive() };
const ofCall = { ...inStep, callId: CallId };
const failure = { code: TurnCode, message: z.string(), retryable: z.boolean() };
const ofSandbox = { sandboxId: SandboxId, provider: z.string(), generation: z.number().int().positive() };
const sums = { usage: Usage, steps: z.number().int().nonnegative(), durationMs: z.number().int().nonnegative() };

const FACTS = [
  z.object({ type: z.literal("session.created"), agent: z.string(), title: z.string().optional() }),
  z
    .object({
      type: z.literal("session.updated"),
      agent: z.string(),
      agentRef: AgentRef.nullable(),
      backend: z.string(),
      model: z.string().nullable(),
      turnId: TurnId.optional().meta({ description: "Set when a running turn handed over to another agent." }),
      notCarried: z.array(z.object({ what: z.string(), count: z.number().int(), why: z.string() })).meta({
        description: "What of the conversation the new backend cannot be shown.",
      }),
    })
    .meta({ description: "From here on the session runs so: it was configured, or its agent handed over." }),
  z.object({ type: z.literal("session.closed") }),

  z.object({
    type: z.literal("message.received"),
    messageId: MessageId,
    turnId: TurnId.meta({
      description: "Of its own turn; one that steers may join another, as `message.steered` says.",
    }),
    mode: MessageMode,
    content: Content,
  }),
  z.object({
    type: z.literal("message.queued"),
    messageId: MessageId,
    turnId: TurnId,
    position: z.number().int().positive(),
  }),
  z
    .object({ type: z.literal("message.steered"), messageId: MessageId, ...inStep })
    .meta({ description: "It joined the turn: the model sees it from this step on." }),
  z
    .object({ type: z.literal("message.removed"), messageId: MessageId })
    .meta({ description: "It was taken back before its turn had begun." }),
  z.object({ type: z.literal("message.refused"), messageId: MessageId, message: z.string() }),

  z.object({ type: z.literal("turn.started"), ...inTurn, messageId: MessageId }),
  z.object({
    type: z.literal("turn.completed"),
    ...inTurn,
    ...sums,
    output: z.string().meta({ description: "The agent's last text." }),
    structuredOutput: z.unknown().optional().meta({ description: "The answer that matches the agent's outputSchema." }),
  }),
  z.object({ type: z.literal("turn.failed"), ...inTurn, ...sums, ...failure }),
  z.object({
    type: z.literal("turn.interrupted"),
    ...inTurn,
    ...sums,
    reason: z.enum(["interrupted", "replaced", "closed"]),
    output: z.string().optional().meta({ description: "What there was of the agent's last text." }),
  }),

  z.object({ type: z.literal("step.started"), ...inStep }),
  z
    .object({
      type: z.literal("step.restarted"),
      ...inStep,
      attempt: z.number().int().min(2),
    })
    .meta({ description: "The attempt before was lost: drop what it had streamed of this step." }),
  z
    .object({
      type: z.literal("step.waiting"),
      ...inStep,
      callId: CallId.optional().meta({ description: "Set when it is one of its calls that waits." }),
      missing: z.array(z.string()).meta({ description: "What no running worker has, such as `tool deploy`." }),
      deadline: z
        .number()
        .int()
        .meta({ description: "Milliseconds since 1970; it fails when nobody has come by then." }),
    })
    .meta({ description: "It waits for a worker that has what it needs, and goes on by itself when there is one." }),
  z.object({ type: z.literal("step.completed"), ...inStep, model: z.string(), usage: Usage }),

  z.object({
    type: z.literal("block.started"),
    ...inStep,
    index: z.number().int().nonnegative(),
    block: z.object({
      type: z.enum(["text", "thinking", "tool_call"]),
      callId: CallId.optional(),
      name: z.string().optional(),
    }),
  }),
  z.object({ type: z.literal("block.delta"), ...inStep, index: z.number().int().nonnegative(), text: z.string() }),
  z.object({
    type: z.literal("block.completed"),
    ...inStep,
    index: z.number().int().nonnegative(),
    block: ReplyBlock,
    interrupted: z.literal(true).optional().meta({ description: "It was cut off by the end of its turn, and kept." }),
  }),

  z.object({ type: z.literal("tool.started"), ...ofCall, name: z.string(), arguments: z.unknown() }),
  z.object({ type: z.literal("tool.output"), ...ofCall, stream: z.enum(["stdout", "stderr"]), text: z.string() }),
  z.object({
    type: z.literal("tool.completed"),
    ...ofCall,
    name: z.string(),
    outcome: ToolOutcome,
    result: z.string().meta({ description: "As the model is shown it." }),
    durationMs: z.number().int().nonnegative(),
  }),

  z
    .object({
      type: z.literal("approval.requested"),
      ...ofCall,
      name: z.string(),
      arguments: z.unknown().meta({ description: "Exactly as they would run." }),
      argumentsHash: z.string(),
      reason: z.string(),
      deadline: z
        .number()
        .int()
        .meta({ description: "Milliseconds since 1970; denied when nobody has decided by then." }),
    })
    .meta({ description: "The call waits for `POST …/approvals/:callId`." }),
  z.object({
    type: z.literal("approval.decided"),
    ...ofCall,
    decision: z.enum(["approve", "deny"]),
    by: DecidedBy,
    scope: ApprovalScope,
    reason: z.string().optional(),
    arguments: z.unknown().optional().meta({ description: "Set when they were edited: the call runs with these." }),
    argumentsHash: z.string().meta({ description: "Of the arguments that it was decided for." }),
    grantId: GrantId.optional(),
  }),
  z
    .object({
      type: z.literal("question.asked"),
      ...ofCall,
      question: z.string(),
      choices: z.array(z.string()).optional(),
      allowFreeform: z.boolean(),
      deadline: z.number().int(),
    })
    .meta({ description: "The turn waits for `POST …/answers/:callId`." }),
  z.object({
    type: z.literal("question.answered"),
    ...ofCall,
    answer: z.string().nullable().meta({ description: "null: nobody answered in time, or the turn ended first." }),
    choice: z.number().int().optional(),
    by: DecidedBy,
  }),
  z
    .object({
      type: z.literal("tool.requested"),
      ...ofCall,
      name: z.string(),
      arguments: z.unknown(),
      argumentsHash: z.string(),
      replay: z.enum(["safe", "keyed", "ask"]),
      deadline: z.number().int(),
    })
    .meta({ description: "A tool that the caller runs; its result goes to `POST …/tool-results/:callId`." }),

  z.object({ type: z.literal("sandbox.starting"), ...ofSandbox }),
  z.object({ type: z.literal("sandbox.ready"), ...ofSandbox }),
  z.object({ type: z.literal("sandbox.lost"), ...ofSandbox, message: z.string() }),
  z.object({
    type: z.literal("sandbox.stopped"),
    ...ofSandbox,
    reason: z.enum(["closed", "idle"]).optional().meta({
      description: "`idle`: its workspace is kept, and the next use makes a new one from it.",
    }),
  }),
  z
    .object({
      type: z.literal("sandbox.replaced"),
      ...ofSandbox,
      restoredFrom: z
        .object({ snapshotId: SnapshotId, turnId: TurnId.nullable(), at: z.number().int() })
        .nullable()
        .meta({
          description:
            "`at`: every change until then is back. null: there was no snapshot, and the workspace is empty but for the agent's files.",
        }),
      lost: z.array(z.string()).meta({ description: "What is gone, in words." }),
    })
    .meta({ description: "Follows `sandbox.ready` of a generation that took the place of a lost one." }),
  z
    .object({
      type: z.literal("sandbox.snapshotted"),
      ...ofSandbox,
      snapshotId: SnapshotId,
      turnId: TurnId.optional(),
      files: z.number().int().nonnegative(),
      bytes: z.number().int().nonnegative(),
      storedBytes: z.number().int().nonnegative().meta({ description: "Of them, what was not stored before." }),
      durationMs: z.number().int().nonnegative(),
      unreadable: z
        .object({ count: z.number().int().positive(), names: z.array(z.string()) })
        .optional()
        .meta({ description: "Files that could not be read, and are not in it; the first of them by name." }),
    })
    .meta({ description: "From here on the workspace can be restored as it was when this snapshot was begun." }),
  z
    .object({
      type: z.literal("workspace.unkept"),
      ...ofSandbox,
      turnId: TurnId.optional(),
      reason: z.enum(["too_large", "failed"]),
      message: z.string(),
    })
    .meta({
      description:
        "No snapshot could be taken: what has changed since the last one goes with the sandbox if that is lost. It is not stopped while it idles, and the next turn's end tries again.",
    }),
  z
    .object({
      type: z.literal("network.decided"),
      sandboxId: SandboxId,
      host: z.string(),
      port: z.number().int(),
      decision: z.enum(["allow", "deny"]),
      reason: z.string(),
    })
    .meta({ description: "A command wanted to reach a host." }),
  z
    .object({
      type: z.literal("file.changed"),
      path: z.string(),
      change: z.enum(["created", "modified", "deleted"]),
      bytes: z.number().int().nonnegative().optional(),
      turnId: TurnId.optional(),
      callId: CallId.optional(),
      more: z.number().int().positive().optional().meta({
        description: "Of the last one that is told: so many more files have changed.",
      }),
    })
    .meta({ description: "A file of the workspace, after a call or a command." }),

  z.object({
    type: z.literal("command.started"),
    callId: CallId,
    command: z.string(),
    cwd: z.string().optional(),
    timeoutMs: z.number().int().positive(),
  }),
  z.object({
    type: z.literal("command.output"),
    callId: CallId,
    stream: z.enum(["stdout", "stderr"]),
    text: z.string(),
  }),
  z.object({
    type: z.literal("command.completed"),
    callId: CallId,
    outcome: ToolOutcome,
    exitCode: z.number().int().nullable(),
    result: z.string().meta({ description: "What it printed, bounded." }),
    durationMs: z.number().int().nonnegative(),
  }),
  z.object({ type: z.literal("terminal.opened"), terminalId: TerminalId }),
  z.object({ type: z.literal("terminal.closed"), terminalId: TerminalId, reason: z.string() }),

  z.object({
    type: z.literal("artifact.uploaded"),
    turnId: TurnId,
    artifactId: ArtifactId,
    path: z.string(),
    bytes: z.number().int().nonnegative(),
    sha256: z.string(),
    contentType: z.string(),
  }),

  z.object({
    type: z.literal("artifacts.skipped"),
    turnId: TurnId,
    folder: z.string().meta({ description: "Of the agent's artifact folders." }),
    reason: z.enum(["too_many"]).meta({ description: "too_many: it has more entries than are looked at." }),
    looked: z.number().int().nonnegative().meta({ description: "Entries that were looked at, in path order." }),
  }),

  z.object({
    type: z.literal("error"),
    turnId: TurnId.optional(),
    step: z.number().int().positive().optional(),
    ...failure,
    retryInMs: z
      .number()
      .int()
      .nonnegative()
      .optional()
      .meta({ description: "Present when we try again by ourselves." }),
  }),
] as const;

/** A fact as its writer states it, before it has a place in the log. */
export const Fact = z.discriminatedUnion("type", FACTS);
export type Fact = z.infer<typeof Fact>;

const Place = {
  seq: z.number().int().positive(),
  at: z.number().int().meta({ description: "Milliseconds since 1970." }),
};

/** A fact with its place in the session's log. */
export const SessionEvent = z
  .intersection(z.object(Place), Fact)
  .meta({ id: "SessionEvent", description: "seq is 1, 2, 3 … per session, without a gap." });
export type SessionEvent = { readonly seq: number; readonly at: number } & Fact;
export type EventType = Fact["type"];
export type SessionEventOf<Type extends EventType> = { readonly seq: number; readonly at: number } & Extract<
  Fact,
  { type: Type }
>;

export const TURN_ENDS: ReadonlySet<EventType> = new Set(["turn.completed", "turn.failed", "turn.interrupted"]);
