/** The short workflows of live workspaces, as the gateway starts and awaits them. */
import { createHash, randomUUID } from "node:crypto";
import type { Client, WorkflowHandle } from "@temporalio/client";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { TerminalKey } from "../contract/terminals.ts";
import { type OwnWorkflow, ownWorkflowId } from "../contract/workflow-ids.ts";
import type { CommandKey, WorkspaceAnswer, WorkspaceRequest } from "../contract/workspace.ts";
import { findPlace, type SessionPlace } from "../store/session-places.ts";
import type { Store } from "../store/store.ts";
import {
  COMMAND_WORKFLOW,
  IDLE_WORKFLOW,
  type IdleSandboxKey,
  KEEP_WORKFLOW,
  TERMINAL_WORKFLOW,
  WORKSPACE_WORKFLOW,
  workspaceChanged,
} from "../workflows/messages.ts";
import { isKind, type RequestKey, SessionsError } from "./sessions.ts";

export type Bounded = <T>(timeoutMs: number, call: () => Promise<T>) => Promise<T>;

export interface Through {
  readonly client: Client;
  readonly bounded: Bounded;
  readonly taskQueue: string;
  readonly store: Pick<Store, "stack" | "database" | "tickets">;
}

/** The session that has the id now; undefined when there is none, or it is not that incarnation. */
export async function placeOf(
  { database }: Through["store"],
  sessionId: SessionId,
  incarnation?: string,
): Promise<SessionPlace | undefined> {
  const place = await findPlace(database, sessionId);
  return incarnation === undefined || place?.incarnation === incarnation ? place : undefined;
}

/** What the ids of workflows carry that do something for a session. */
export function scopeOf({ stack }: Through["store"], { incarnation }: SessionPlace): string {
  return incarnation === "" ? stack : incarnation;
}

interface Own {
  readonly workflowId: string;
  readonly ticket: string;
}

/** The id of a workflow that is of use to that session alone, and the proof that we have asked for it. */
async function own(
  { store }: Through,
  kind: OwnWorkflow,
  of: { readonly sessionId: SessionId; readonly name?: string },
): Promise<Own> {
  const place = await placeOf(store, of.sessionId);
  if (!place) throw new SessionsError("missing", `session ${of.sessionId} is gone`);
  const workflowId = ownWorkflowId(kind, of.name ?? of.sessionId, scopeOf(store, place));
  return { workflowId, ticket: store.tickets.of(kind, place) };
}

/** `PendingActivityState` of Temporal's API: a worker has it. */
const STARTED = 2;
const SUMMARY_CHARACTERS = 200;
/** In the memo of a request with a key: a hash of what it asks for. */
const CONTENT = "content";
const TAKEN: WorkspaceAnswer = {
  found: "nothing",
  code: "CONFLICT",
  message: "this Idempotency-Key is taken by another request; use a new one",
};

/**
 * Runs a look or a write. Without any worker it is given up after LIMITS.workspaceTimeoutMs; one that a worker is at, such as a
 * long upload, is waited for as long as LIMITS.workspaceTransferMs. What is given up is ended, so that nothing is done later.
 */
export async function lookInto(
  through: Through,
  request: WorkspaceRequest,
  key: RequestKey | undefined,
): Promise<WorkspaceAnswer> {
  const { client, bounded, taskQueue } = through;
  const hash = key === undefined ? randomUUID() : createHash("sha256").update(key.name).digest("hex").slice(0, 32);
  const name = `${request.sessionId}-${hash}`;
  const { workflowId, ticket } = await own(through, "workspace", { sessionId: request.sessionId, name });
  const start = (again: boolean): Promise<WorkflowHandle> =>
    bounded(LIMITS.queryTimeoutMs, () =>
      client.workflow.start(WORKSPACE_WORKFLOW, {
        workflowId,
        taskQueue,
        args: [{ ...request, ticket }],
        workflowExecutionTimeout: LIMITS.workspaceTransferMs,
        workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
        workflowIdConflictPolicy: "USE_EXISTING",
        workflowIdReusePolicy: again ? "ALLOW_DUPLICATE" : "ALLOW_DUPLICATE_FAILED_ONLY",
        staticSummary: `${request.operation} ${request.path}`.slice(0, SUMMARY_CHARACTERS),
        ...(key !== undefined && { memo: { [CONTENT]: key.content } }),
      }),
    );
  // A start does not tell whether it found a run that is there already.
  const done = async (handle: WorkflowHandle): Promise<WorkspaceAnswer> =>
    key === undefined || (await isOf(bounded, handle, key)) ? await result(bounded, handle) : TAKEN;
  try {
    return await done(await start(false));
  } catch (error) {
    if (!isKind(error, "missing")) throw error;
  }
  // It has run under this key before. What was done is answered as it was then; what was refused is tried again.
  const before = client.workflow.getHandle(workflowId);
  const answer = await result(bounded, before);
  if (answer.found === "nothing") return await done(await start(true));
  return key === undefined || (await isOf(bounded, before, key)) ? answer : TAKEN;
}

async function isOf(bounded: Bounded, handle: WorkflowHandle, key: RequestKey): Promise<boolean> {
  const { memo } = await bounded(LIMITS.queryTimeoutMs, () => handle.describe());
  return memo?.[CONTENT] === key.content;
}

async function result(bounded: Bounded, handle: WorkflowHandle): Promise<WorkspaceAnswer> {
  const deadline = Date.now() + LIMITS.workspaceTransferMs;
  for (;;) {
    try {
      return (await bounded(LIMITS.workspaceTimeoutMs, () => handle.result())) as WorkspaceAnswer;
    } catch (error) {
      if (!isKind(error, "unanswered", "unreachable")) throw error;
      if (Date.now() < deadline && (await isWorkedAt(bounded, handle))) continue;
      await bounded(LIMITS.queryTimeoutMs, () => handle.terminate("nobody waits for it any more")).catch(
        () => undefined,
      );
      throw new SessionsError("unanswered", "no worker did it in time", { cause: error });
    }
  }
}

async function isWorkedAt(bounded: Bounded, handle: WorkflowHandle): Promise<boolean> {
  const { raw } = await bounded(LIMITS.queryTimeoutMs, () => handle.describe());
  return (raw.pendingActivities ?? []).some(({ state }) => Number(state) === STARTED);
}

/** Has the workspace kept soon. What cannot be begun now is kept by the next turn, or when the sandbox idles. */
export async function keepSoon(through: Through, sessionId: SessionId): Promise<void> {
  const { client, bounded, taskQueue } = through;
  const { workflowId, ticket } = await own(through, "keep", { sessionId });
  await bounded(LIMITS.queryTimeoutMs, () =>
    client.workflow.signalWithStart(KEEP_WORKFLOW, {
      workflowId,
      taskQueue,
      args: [{ sessionId, ticket }],
      signal: workspaceChanged,
      workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
      workflowRunTimeout: LIMITS.keepTimeoutMs,
      staticSummary: `keeps the workspace of ${sessionId}`,
    }),
  );
}

/** Starts the command's workflow. Another run after one that has ended finds by the row whether there is anything left to do. */
export async function runCommand(through: Through, command: CommandKey): Promise<void> {
  const { client, bounded, taskQueue } = through;
  const { workflowId, ticket } = await ofCommand(through, command);
  const options = {
    workflowId,
    taskQueue,
    args: [{ ...command, ticket }],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowIdConflictPolicy: "USE_EXISTING" as const,
    workflowIdReusePolicy: "ALLOW_DUPLICATE" as const,
    staticSummary: `a command of a caller in ${command.sessionId}`,
  };
  await bounded(LIMITS.queryTimeoutMs, () => client.workflow.start(COMMAND_WORKFLOW, options));
}

export async function stopCommand(through: Through, command: CommandKey): Promise<void> {
  const { workflowId } = await ofCommand(through, command);
  await through.bounded(LIMITS.queryTimeoutMs, () => through.client.workflow.getHandle(workflowId).cancel());
}

function ofCommand(through: Through, { sessionId, callId }: CommandKey): Promise<Own> {
  return own(through, "command", { sessionId, name: callId });
}

export async function stopIdle(through: Through, key: IdleSandboxKey): Promise<void> {
  const { client, bounded, taskQueue } = through;
  const { workflowId, ticket } = await own(through, "idle", key);
  const options = {
    workflowId,
    taskQueue,
    args: [{ ...key, ticket }],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowExecutionTimeout: LIMITS.keepTimeoutMs,
    workflowIdConflictPolicy: "USE_EXISTING" as const,
    staticSummary: `stops the idle sandbox of ${key.sessionId}`,
  };
  await bounded(LIMITS.queryTimeoutMs, () => client.workflow.start(IDLE_WORKFLOW, options));
}

export async function serveTerminal(through: Through, key: TerminalKey): Promise<void> {
  const { client, bounded, taskQueue } = through;
  const { workflowId } = await own(through, "terminal", { sessionId: key.sessionId, name: key.terminalId });
  const options = {
    workflowId,
    taskQueue,
    args: [key],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowIdConflictPolicy: "USE_EXISTING" as const,
    staticSummary: `a terminal in ${key.sessionId}`,
  };
  await bounded(LIMITS.queryTimeoutMs, () => client.workflow.start(TERMINAL_WORKFLOW, options));
}
