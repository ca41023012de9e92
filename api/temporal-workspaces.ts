/** The short workflows of live workspaces, as the gateway starts and awaits them. */
import { createHash, randomUUID } from "node:crypto";
import type { Client, WorkflowHandle } from "@temporalio/client";
import type { CallId, SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { TerminalKey } from "../contract/terminals.ts";
import type { CommandKey, WorkspaceAnswer, WorkspaceRequest } from "../contract/workspace.ts";
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
  { client, bounded, taskQueue }: Through,
  request: WorkspaceRequest,
  key: RequestKey | undefined,
): Promise<WorkspaceAnswer> {
  const name = key === undefined ? randomUUID() : createHash("sha256").update(key.name).digest("hex").slice(0, 32);
  const workflowId = `workspace-${request.sessionId}-${name}`;
  const start = (again: boolean): Promise<WorkflowHandle> =>
    bounded(LIMITS.queryTimeoutMs, () =>
      client.workflow.start(WORKSPACE_WORKFLOW, {
        workflowId,
        taskQueue,
        args: [request],
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
export async function keepSoon({ client, bounded, taskQueue }: Through, sessionId: SessionId): Promise<void> {
  await bounded(LIMITS.queryTimeoutMs, () =>
    client.workflow.signalWithStart(KEEP_WORKFLOW, {
      workflowId: `keep-${sessionId}`,
      taskQueue,
      args: [{ sessionId }],
      signal: workspaceChanged,
      workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
      workflowExecutionTimeout: LIMITS.keepTimeoutMs,
      staticSummary: `keeps the workspace of ${sessionId}`,
    }),
  );
}

export function commandWorkflowId(callId: CallId): string {
  return `command-${callId}`;
}

/** Starts the command's workflow. Another run after one that has ended finds by the row whether there is anything left to do. */
export async function runCommand({ client, taskQueue }: Through, command: CommandKey): Promise<void> {
  await client.workflow.start(COMMAND_WORKFLOW, {
    workflowId: commandWorkflowId(command.callId),
    taskQueue,
    args: [command],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowIdConflictPolicy: "USE_EXISTING",
    workflowIdReusePolicy: "ALLOW_DUPLICATE",
    staticSummary: `a command of a caller in ${command.sessionId}`,
  });
}

export async function stopIdle({ client, taskQueue }: Through, key: IdleSandboxKey): Promise<void> {
  await client.workflow.start(IDLE_WORKFLOW, {
    workflowId: `idle-${key.sessionId}`,
    taskQueue,
    args: [key],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowExecutionTimeout: LIMITS.keepTimeoutMs,
    workflowIdConflictPolicy: "USE_EXISTING",
    staticSummary: `stops the idle sandbox of ${key.sessionId}`,
  });
}

export async function serveTerminal({ client, taskQueue }: Through, key: TerminalKey): Promise<void> {
  await client.workflow.start(TERMINAL_WORKFLOW, {
    workflowId: `terminal-${key.terminalId}`,
    taskQueue,
    args: [key],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowIdConflictPolicy: "USE_EXISTING",
    staticSummary: `a terminal in ${key.sessionId}`,
  });
}
