/** The gateway over Temporal's client: every call bounded, every failure a SessionsError. */
import {
  Client,
  Connection,
  defaultGrpcRetryOptions,
  makeGrpcRetryInterceptor,
  type WorkflowHandle,
} from "@temporalio/client";
import { defineSearchAttributeKey, SearchAttributeType } from "@temporalio/common";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { sessionAgent } from "../contract/steps.ts";
import { stackQueue } from "../contract/task-queue.ts";
import type { WorkspaceAnswer } from "../contract/workspace.ts";
import {
  answerQuestion,
  closeSession,
  decideApproval,
  getProgress,
  interruptTurn,
  PURGE_WORKFLOW,
  removeMessage,
  SESSION_WORKFLOW,
  type SessionInput,
  submitMessage,
  submitToolResult,
} from "../workflows/messages.ts";
import { type SessionStart, type Sessions, SessionsError } from "./sessions.ts";
import { toSessionsError } from "./temporal-error.ts";
import {
  type Bounded,
  commandWorkflowId,
  keepSoon,
  lookInto,
  runCommand,
  serveTerminal,
  stopIdle,
  type Through,
} from "./temporal-workspaces.ts";

const STATUS = defineSearchAttributeKey("PerdureStatus", SearchAttributeType.KEYWORD);
const AGENT = defineSearchAttributeKey("PerdureAgent", SearchAttributeType.KEYWORD);
/** The update that tells of the end of a wait, by its kind: each is a line of its own in Temporal's UI. */
const WAIT_UPDATE = { approval: decideApproval, question: answerQuestion, tool: submitToolResult } as const;

/** Answers after which the workspace is another than before. */
const CHANGES: ReadonlySet<WorkspaceAnswer["found"]> = new Set(["written", "removed", "downloaded"] as const);

export interface TemporalPlace {
  readonly address: string;
  readonly namespace: string;
  /** The stack's id. */
  readonly stack: string;
}

/** Opens the gateway without connecting: a Temporal that is away now may be there at the first call. */
export function openTemporalSessions(at: TemporalPlace): Sessions {
  const connection = Connection.lazy({
    address: at.address,
    interceptors: [makeGrpcRetryInterceptor(defaultGrpcRetryOptions({ maxIntervalMs: () => 500 }))],
    channelArgs: {
      // By default a channel that failed for a while tries again only every two minutes.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.min_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1_000,
    },
  });
  const client = new Client({ connection, namespace: at.namespace });
  const taskQueue = stackQueue(at.stack);
  const inFlight = new Set<Promise<unknown>>();
  const bounded: Bounded = (timeoutMs, call) =>
    withinTime(timeoutMs, () => {
      const running = connection.withDeadline(Date.now() + timeoutMs, call);
      inFlight.add(running);
      void running.catch(() => undefined).finally(() => inFlight.delete(running));
      return running;
    });
  const handle = (sessionId: SessionId): WorkflowHandle => client.workflow.getHandle(sessionId);
  return {
    start: (start) =>
      bounded(LIMITS.queryTimeoutMs, async () => {
        await client.workflow.start(SESSION_WORKFLOW, startOptions(taskQueue, start));
      }),
    submit: (sessionId, message) =>
      bounded(LIMITS.updateTimeoutMs, () =>
        handle(sessionId).executeUpdate(submitMessage, { args: [message], updateId: message.messageId }),
      ),
    removeMessage: (sessionId, messageId) =>
      bounded(LIMITS.queryTimeoutMs, async () => {
        await handle(sessionId).executeUpdate(removeMessage, { args: [{ messageId }] });
      }),
    interrupt: (sessionId, request) =>
      bounded(LIMITS.updateTimeoutMs, () => handle(sessionId).signal(interruptTurn, request)),
    endWait: (sessionId, ended) =>
      bounded(LIMITS.updateTimeoutMs, () =>
        handle(sessionId).executeUpdate(WAIT_UPDATE[ended.kind], {
          args: [ended],
          updateId: `${ended.callId}-${ended.kind}-${ended.deadline}`,
        }),
      ),
    close: (sessionId) => bounded(LIMITS.updateTimeoutMs, () => handle(sessionId).signal(closeSession)),
    progress: (sessionId) => bounded(LIMITS.queryTimeoutMs, () => handle(sessionId).query(getProgress)),
    purge: (sessionId) => purge({ client, bounded, taskQueue }, sessionId),
    workspace: async (request, key) => {
      const answer = await lookInto({ client, bounded, taskQueue }, request, key);
      // The answer does not wait for it.
      if (CHANGES.has(answer.found))
        void keepSoon({ client, bounded, taskQueue }, request.sessionId).catch(() => undefined);
      return answer;
    },
    runCommand: (command) => bounded(LIMITS.queryTimeoutMs, () => runCommand({ client, bounded, taskQueue }, command)),
    stopCommand: (callId) =>
      bounded(LIMITS.queryTimeoutMs, async () => {
        await client.workflow.getHandle(commandWorkflowId(callId)).cancel();
      }),
    stopIdle: (key) => bounded(LIMITS.queryTimeoutMs, () => stopIdle({ client, bounded, taskQueue }, key)),
    serveTerminal: (key) => bounded(LIMITS.queryTimeoutMs, () => serveTerminal({ client, bounded, taskQueue }, key)),
    check: () =>
      bounded(LIMITS.readyTimeoutMs, async () => {
        await connection.workflowService.describeNamespace({ namespace: at.namespace });
      }),
    [Symbol.asyncDispose]: async () => {
      // The client's retry throws where nobody can catch it when its channel has been closed meanwhile.
      await Promise.allSettled(inFlight);
      await connection.close();
    },
  };
}

/** The client looks at its deadline only between its own retries, so that a call to a server that is gone comes back late. */
const GRACE_MS = 100;

async function withinTime<T>(timeoutMs: number, call: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = new SessionsError("unreachable", "Temporal cannot be reached");
    timer = setTimeout(() => reject(error), timeoutMs + GRACE_MS);
  });
  try {
    return await Promise.race([call(), late]);
  } catch (error) {
    throw toSessionsError(error);
  } finally {
    clearTimeout(timer);
  }
}

function startOptions(taskQueue: string, start: SessionStart) {
  const { agent, title, sessionId } = start;
  const input: SessionInput = { sessionId, agent: sessionAgent(agent), keepsWorkspace: true };
  return {
    workflowId: sessionId,
    taskQueue,
    args: [input],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowIdConflictPolicy: "USE_EXISTING" as const,
    workflowIdReusePolicy: "REJECT_DUPLICATE" as const,
    typedSearchAttributes: [
      { key: STATUS, value: "idle" },
      { key: AGENT, value: agent.name },
    ],
    ...(title !== null && { memo: { title } }),
    staticSummary: start.summary,
  };
}

async function purge({ client, bounded, taskQueue }: Through, sessionId: SessionId): Promise<void> {
  const workflowId = `purge-${sessionId}`;
  await bounded(LIMITS.purgeTimeoutMs, () =>
    client.workflow.execute(PURGE_WORKFLOW, {
      workflowId,
      taskQueue,
      args: [{ sessionId }],
      workflowIdConflictPolicy: "USE_EXISTING",
      workflowIdReusePolicy: "ALLOW_DUPLICATE",
      workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    }),
  );
  // The session is gone for every client by now; a history that stays is removed by Temporal's retention.
  for (const id of [sessionId, workflowId]) {
    await bounded(LIMITS.queryTimeoutMs, async () => {
      await client.workflowService.deleteWorkflowExecution({
        namespace: client.options.namespace,
        workflowExecution: { workflowId: id },
      });
    }).catch(() => undefined);
  }
}
