/** The session workflow's message surface. Clients import these; the handlers live in session.ts. */
import { defineQuery, defineSignal, defineUpdate } from "@temporalio/workflow";
import type { SessionId } from "../contract/ids.ts";
import type {
  ForIncarnation,
  InterruptTurn,
  MessageTaken,
  Progress,
  RemoveMessage,
  SubmitMessage,
  WaitEnded,
} from "../contract/session.ts";
import type { SessionAgent } from "../contract/steps.ts";

/**
 * An update, because the caller must learn at once whether the message was taken and where it stands.
 * The same message again, by whatever caller and however much later, is answered as the first time and not queued twice.
 */
export const submitMessage = defineUpdate<MessageTaken, [SubmitMessage]>("submitMessage");

/** Takes a message back that has not begun. An update, because the caller must learn whether it was in time. */
export const removeMessage = defineUpdate<{ readonly removed: boolean }, [RemoveMessage]>("removeMessage");

/**
 * A person has approved or denied a call. What was decided is committed in the store before; this tells the turn that
 * waits. Updates, because who tells must learn that it was heard, and tells again until it was. A repeat changes nothing.
 */
export const decideApproval = defineUpdate<void, [WaitEnded]>("decideApproval");
/** A person has answered a question. */
export const answerQuestion = defineUpdate<void, [WaitEnded]>("answerQuestion");
/** The caller has given the result of a tool that it runs. */
export const submitToolResult = defineUpdate<void, [WaitEnded]>("submitToolResult");

/** A signal, because stopping always succeeds: when nothing runs, nothing happens. */
export const interruptTurn = defineSignal<[InterruptTurn]>("interruptTurn");

/** The same for a session that another has replaced under its id changes nothing. A signal, because closing always succeeds and nobody need wait for it. */
export const closeSession = defineSignal<[ForIncarnation?]>("closeSession");

/** The small authoritative snapshot; `temporal workflow query --type getProgress` shows it too. */
export const getProgress = defineQuery<Progress, [ForIncarnation?]>("getProgress");

/** What keeps a workspace hears of another change. */
export const workspaceChanged = defineSignal("workspaceChanged");

export interface WorkspaceKey {
  readonly sessionId: SessionId;
  /** Proves to the activities that this stack has asked for it. */
  readonly ticket?: string;
}

/** `idleMs`: how long nobody must have used it. */
export interface IdleSandboxKey extends WorkspaceKey {
  readonly idleMs: number;
}

/** What starts a session's workflow. Its id is the session's id, unless a workflow of somebody else has that. */
export interface SessionInput {
  readonly sessionId: SessionId;
  readonly agent: SessionAgent;
  /** Tells it from another session of the same id. Runs that began before 0.4 have none, and no ticket. */
  readonly incarnation?: string;
  /** Proves to the activities that this stack has started it. */
  readonly ticket?: string;
  /** It begins from what the store says is going on, and does so again when it turns out to be newer than the store. */
  readonly recovers?: true;
  /** How often it has begun anew in a row, without a turn that ended. */
  readonly anew?: number;
  /** Its workspace is kept in snapshots, and its sandbox stopped while it is idle. Runs that began before 0.3 do neither. */
  readonly keepsWorkspace?: true;
  /**
   * It continues as new also while it idles and while its turn waits, and nobody waits for what is done beside turns. Runs
   * that began before 0.4 do neither.
   */
  readonly continuesAnywhere?: true;
}

/** Workflow types, as Temporal knows them. */
export const SESSION_WORKFLOW = "session";
export const WORKSPACE_WORKFLOW = "workspaceRequest";
export const COMMAND_WORKFLOW = "commandRequest";
export const TERMINAL_WORKFLOW = "terminalRequest";
export const PURGE_WORKFLOW = "purgeSession";
export const SWEEP_WORKFLOW = "sweepSandboxes";
export const IDLE_WORKFLOW = "idleSandbox";
export const KEEP_WORKFLOW = "keepWorkspace";
