/** The session workflow's message surface. Clients import these; the handlers live in session.ts. */
import { defineQuery, defineSignal, defineUpdate } from "@temporalio/workflow";
import type { AgentLimits } from "../contract/agents.ts";
import type { SessionId } from "../contract/ids.ts";
import type { InterruptTurn, MessageTaken, Progress, SubmitMessage } from "../contract/session.ts";

/**
 * An update, because the caller must learn at once whether the message was taken and where it stands.
 * The same message again, by whatever caller and however much later, is answered as the first time and not queued twice.
 */
export const submitMessage = defineUpdate<MessageTaken, [SubmitMessage]>("submitMessage");

/** A signal, because stopping always succeeds: when nothing runs, nothing happens. */
export const interruptTurn = defineSignal<[InterruptTurn]>("interruptTurn");

/** A signal, because closing always succeeds and nobody need wait for it. */
export const closeSession = defineSignal("closeSession");

/** The small authoritative snapshot; `temporal workflow query --type getProgress` shows it too. */
export const getProgress = defineQuery<Progress>("getProgress");

/** What starts a session's workflow. Its id is the session's id. */
export interface SessionInput {
  readonly sessionId: SessionId;
  readonly agent: SessionAgent;
}

/** What the workflow has to know of the agent: its name for search, its limits. */
export interface SessionAgent {
  readonly name: string;
  readonly limits: Pick<AgentLimits, "stepsPerTurn" | "turnTimeoutMs" | "tokensPerTurn" | "toolsInParallel">;
  /** Whether it may need a sandbox. */
  readonly hasTools: boolean;
}

/** Workflow types, as Temporal knows them. */
export const SESSION_WORKFLOW = "session";
export const WORKSPACE_WORKFLOW = "workspaceRequest";
export const PURGE_WORKFLOW = "purgeSession";
