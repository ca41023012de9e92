/** Bodies of the HTTP API, as clients send and get them. */
import { z } from "zod";
import { Agent, AgentInput, AgentOverrides, ClientTool } from "./agents.ts";
import { asBlocks, Content, TranscriptMessage } from "./blocks.ts";
import { MessageMode, SessionEvent } from "./events.ts";
import { AgentId, ArtifactId, MessageId, SandboxId, SessionId, SnapshotId, TurnId } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { AnnouncedSandbox, SandboxInput, SandboxProviderName, SandboxSpec } from "./sandbox.ts";
import { Metadata, Progress, Session, TurnOutcome } from "./session.ts";
import { Usage } from "./usage.ts";

/** What is kept may be older than this rule, so it holds for new messages alone: no provider takes one that says nothing. */
const NewContent = Content.refine(saysSomething, "expected some text that is not only space, an image or a file").meta({
  id: "NewContent",
});

function saysSomething(content: Content): boolean {
  if (content.length === 0) return true; // Another rule's matter.
  return asBlocks(content).some((block) => block.type !== "text" || /\S/.test(block.text));
}

export const PostMessage = z
  .strictObject({
    content: NewContent,
    mode: MessageMode.default("queue"),
    id: MessageId.optional().meta({ description: "Yours: the same id again is the same message." }),
  })
  .meta({ id: "PostMessage" });
export type PostMessage = z.infer<typeof PostMessage>;

/** A stored agent by its id (its newest version) or by id and version, or an agent written out. */
export const SessionAgentInput = z
  .union([AgentId, z.strictObject({ id: AgentId, version: z.number().int().positive().optional() }), AgentInput])
  .meta({ id: "SessionAgentInput" });
export type SessionAgentInput = z.infer<typeof SessionAgentInput>;

export const CreateSession = z
  .strictObject({
    id: SessionId.optional().meta({ description: "Yours: the same id again answers 200 with the same session." }),
    agent: SessionAgentInput.optional(),
    overrides: AgentOverrides.optional().meta({ description: "What this session says differently from its agent." }),
    backend: z.string().min(1).max(64).optional().meta({ description: "Short for overrides.backend." }),
    model: z.string().min(1).max(200).optional().meta({ description: "Short for overrides.model." }),
    clientTools: z.array(ClientTool).max(LIMITS.clientToolsMax).default([]).meta({
      description:
        "Tools that you run: `tool.requested` asks for a call, `POST …/tool-results/:callId` takes its result.",
    }),
    sandbox: SandboxInput.optional().meta({
      description: "Short for overrides.sandbox; a name stands for its defaults.",
    }),
    title: z.string().min(1).max(200).optional(),
    metadata: Metadata.default({}),
    message: z.union([NewContent, PostMessage]).optional().meta({ description: "The first message." }),
  })
  .meta({ id: "CreateSession" });
export type CreateSession = z.infer<typeof CreateSession>;

/** Body of `PATCH /v1/sessions/:id`: what is given changes, at the next turn boundary. */
export const UpdateSession = z
  .strictObject({
    agent: z
      .union([AgentId, z.strictObject({ id: AgentId, version: z.number().int().positive().optional() })])
      .optional()
      .meta({ description: "Moves the session to a stored agent, or to another version of it." }),
    overrides: AgentOverrides.optional(),
    backend: z.string().min(1).max(64).optional().meta({ description: "Short for overrides.backend." }),
    model: z.string().min(1).max(200).optional().meta({ description: "Short for overrides.model." }),
    sandbox: SandboxInput.optional().meta({
      description: "Short for overrides.sandbox. It is for the next sandbox: the one that is there stays as it is.",
    }),
    clientTools: z.array(ClientTool).max(LIMITS.clientToolsMax).optional(),
    title: z.string().min(1).max(200).nullable().optional(),
    metadata: Metadata.optional(),
  })
  .meta({ id: "UpdateSession" });
export type UpdateSession = z.infer<typeof UpdateSession>;

export const SessionUpdated = Session.extend({
  applied: z
    .boolean()
    .meta({ description: "false: a turn runs, and the change waits for its end; `session.updated` says when." }),
}).meta({ id: "SessionUpdated" });
export type SessionUpdated = z.infer<typeof SessionUpdated>;

/** A stored agent's body, in `PUT /v1/agents/:id`; for `POST` with an id beside it. */
export const PutAgent = AgentInput.extend({ name: z.string().min(1).max(100) }).meta({ id: "PutAgent" });
export type PutAgent = z.infer<typeof PutAgent>;
export const PostAgent = PutAgent.extend({
  id: AgentId.optional().meta({ description: "Default: made from the name." }),
}).meta({ id: "PostAgent" });
export type PostAgent = z.infer<typeof PostAgent>;

/** One immutable version of a stored agent. */
export const StoredAgent = z
  .object({
    id: AgentId,
    version: z.number().int().positive(),
    agent: Agent,
    source: z.string().meta({ description: "`api`, or the file that it was loaded from." }),
    createdAt: z.number().int(),
    deletedAt: z.number().int().nullable(),
  })
  .meta({ id: "StoredAgent" });
export type StoredAgent = z.infer<typeof StoredAgent>;

export const AgentList = z
  .object({ agents: z.array(StoredAgent), next: z.string().nullable() })
  .meta({ id: "AgentList" });
export type AgentList = z.infer<typeof AgentList>;

/** A user's message as it stands in the queue. */
export const QueuedMessage = z
  .object({
    messageId: MessageId,
    turnId: TurnId,
    mode: MessageMode,
    content: Content,
    state: z.enum(["waiting", "running", "ended", "refused", "removed"]),
    receivedAt: z.number().int(),
  })
  .meta({ id: "QueuedMessage" });
export type QueuedMessage = z.infer<typeof QueuedMessage>;

export const MessageList = z
  .object({
    messages: z.array(QueuedMessage),
    next: z
      .string()
      .nullable()
      .meta({ description: "null at the end. A page of large messages may be shorter than its limit." }),
  })
  .meta({ id: "MessageList" });
export type MessageList = z.infer<typeof MessageList>;

export const MessageAccepted = z
  .object({
    messageId: MessageId,
    turnId: TurnId,
    position: z.number().int().nonnegative().meta({ description: "Turns before it: 0 goes now." }),
  })
  .meta({ id: "MessageAccepted" });
export type MessageAccepted = z.infer<typeof MessageAccepted>;

export const SessionCreated = Session.extend({ message: MessageAccepted.optional() }).meta({ id: "SessionCreated" });
export type SessionCreated = z.infer<typeof SessionCreated>;

export const SessionDetail = Session.extend({
  progress: Progress.nullable().meta({
    description: "The workflow's own answer; null when no worker answered in time, or the session is closed.",
  }),
}).meta({ id: "SessionDetail" });
export type SessionDetail = z.infer<typeof SessionDetail>;

export const SessionList = z
  .object({ sessions: z.array(Session), next: z.string().nullable() })
  .meta({ id: "SessionList" });
export type SessionList = z.infer<typeof SessionList>;

export const EventList = z
  .object({
    events: z.array(SessionEvent),
    next: z.number().int().nonnegative().meta({ description: "Pass as `after` to go on." }),
  })
  .meta({ id: "EventList" });
export type EventList = z.infer<typeof EventList>;

export const Turn = z
  .object({
    turnId: TurnId,
    messageId: MessageId,
    outcome: TurnOutcome,
    output: z.string(),
    structuredOutput: z.unknown().optional(),
    code: z.string().optional(),
    message: z.string().optional(),
    retryable: z.boolean().optional(),
    usage: Usage,
    steps: z.number().int().nonnegative(),
    durationMs: z.number().int().nonnegative(),
  })
  .meta({ id: "Turn" });
export type Turn = z.infer<typeof Turn>;

/** The answer to `POST …/messages?wait=…` when the turn ended in time. */
export const MessageAnswered = MessageAccepted.extend({ turn: Turn }).meta({ id: "MessageAnswered" });
export type MessageAnswered = z.infer<typeof MessageAnswered>;

export const TranscriptPage = z
  .object({
    messages: z.array(TranscriptMessage.extend({ position: z.number().int().positive() })),
    next: z.number().int().nonnegative().nullable(),
  })
  .meta({ id: "TranscriptPage" });
export type TranscriptPage = z.infer<typeof TranscriptPage>;

export const Artifact = z
  .object({
    id: ArtifactId,
    turnId: TurnId,
    path: z.string(),
    bytes: z.number().int().nonnegative(),
    sha256: z.string(),
    contentType: z.string(),
    uploadedAt: z.number().int(),
  })
  .meta({ id: "Artifact" });
export type Artifact = z.infer<typeof Artifact>;

export const ArtifactList = z.object({ artifacts: z.array(Artifact) }).meta({ id: "ArtifactList" });
export type ArtifactList = z.infer<typeof ArtifactList>;

export const InterruptRequest = z
  .strictObject({ turnId: TurnId.optional().meta({ description: "Only this turn; without it, whatever runs." }) })
  .meta({ id: "InterruptRequest" });
export type InterruptRequest = z.infer<typeof InterruptRequest>;

export const InterruptAnswer = z
  .object({
    interrupted: z
      .boolean()
      .meta({ description: "Whether something ran, or the turn that was named: else there is nothing to interrupt." }),
    message: z.string(),
  })
  .meta({ id: "InterruptAnswer" });
export type InterruptAnswer = z.infer<typeof InterruptAnswer>;

export const CloseAnswer = z
  .object({
    closed: z
      .boolean()
      .meta({ description: "Whether it is closed already; else it will be, and `session.closed` says when." }),
    message: z.string(),
  })
  .meta({ id: "CloseAnswer" });
export type CloseAnswer = z.infer<typeof CloseAnswer>;

export const SandboxReport = AnnouncedSandbox.extend({ host: z.string() }).meta({ id: "SandboxReport" });
export type SandboxReport = z.infer<typeof SandboxReport>;

export const SandboxList = z.object({ providers: z.array(SandboxReport) }).meta({ id: "SandboxList" });
export type SandboxList = z.infer<typeof SandboxList>;

export const SessionSandbox = z
  .object({
    sandbox: z
      .object({
        sandboxId: SandboxId,
        provider: SandboxProviderName,
        generation: z.number().int().positive(),
        state: z.enum(["starting", "ready", "lost", "stopped", "idle"]).meta({
          description: "`idle`: stopped, and made again from its snapshot when it is needed. `stopped`: for good.",
        }),
        host: z.string().nullable().meta({ description: "null: it lives on no host of ours." }),
        spec: SandboxSpec,
        restoredFrom: SnapshotId.nullable(),
        usedAt: z.number().int().meta({ description: "About when it was last used." }),
      })
      .nullable()
      .meta({ description: "null: none was needed yet." }),
    snapshots: z.array(
      z.object({
        snapshotId: SnapshotId,
        turnId: TurnId.nullable(),
        generation: z.number().int(),
        files: z.number().int(),
        bytes: z.number().int(),
        storedBytes: z.number().int(),
        madeAt: z.number().int().meta({
          description:
            "Every change until then is in it. What the next turn changed while it was taken may be in it, too, and may be lost.",
        }),
      }),
    ),
  })
  .meta({ id: "SessionSandbox" });
export type SessionSandbox = z.infer<typeof SessionSandbox>;

/** A process of the stack that cannot work before something else is there. */
export const WaitingProcess = z.object({
  process: z.string(),
  waitsFor: z.string(),
  since: z.number().int().meta({ description: "In ms since 1970." }),
});
export type WaitingProcess = z.infer<typeof WaitingProcess>;

export const Health = z
  .object({
    status: z.enum(["alive", "ready"]),
    waiting: z
      .array(WaitingProcess)
      .optional()
      .meta({ description: "Of `/readyz`: processes of the same stack that wait for something, and for what." }),
  })
  .meta({ id: "Health" });
export type Health = z.infer<typeof Health>;

export const FileList = z
  .object({
    path: z.string(),
    truncated: z
      .boolean()
      .meta({ description: `There are more than these; at most ${LIMITS.filesListedMax} are told.` }),
    files: z.array(
      z.object({
        path: z.string(),
        kind: z.enum(["file", "folder", "symlink", "other"]),
        bytes: z.number().int().nonnegative(),
        modifiedAt: z.number(),
      }),
    ),
  })
  .meta({ id: "FileList" });
export type FileList = z.infer<typeof FileList>;

export const FileWritten = z
  .object({ path: z.string(), bytes: z.number().int().nonnegative(), sha256: z.string() })
  .meta({ id: "FileWritten" });
export type FileWritten = z.infer<typeof FileWritten>;
