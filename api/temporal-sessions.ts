/** The gateway over Temporal's client: every call bounded, every failure a SessionsError. */
import {
  Client,
  Connection,
  defaultGrpcRetryOptions,
  makeGrpcRetryInterceptor,
  type WorkflowHandle,
} from "@temporalio/client";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { ForIncarnation, RemoveMessage, SubmitMessage, WaitEnded } from "../contract/session.ts";
import { STACK_MARK, stackQueue } from "../contract/task-queue.ts";
import { ownWorkflowId } from "../contract/workflow-ids.ts";
import { movesMuch, type WorkspaceAnswer } from "../contract/workspace.ts";
import type { Store } from "../store/store.ts";
import {
  answerQuestion,
  closeSession,
  decideApproval,
  getProgress,
  interruptTurn,
  PURGE_WORKFLOW,
  removeMessage,
  SESSION_WORKFLOW,
  submitMessage,
  submitToolResult,
} from "../workflows/messages.ts";
import { ChangeNews } from "./change-news.ts";
import { SessionShares } from "./session-shares.ts";
import { ownRun, startSession } from "./session-start.ts";
import { type SessionStart, type Sessions, SessionsError, type WorkflowRun } from "./sessions.ts";
import { toSessionsError } from "./temporal-error.ts";
import {
  type Bounded,
  keepSoon,
  lookInto,
  placeOf,
  runCommand,
  scopeOf,
  serveTerminal,
  stopCommand,
  stopIdle,
  type Through,
} from "./temporal-workspaces.ts";

/** The update that tells of the end of a wait, by its kind: each is a line of its own in Temporal's UI. */
const WAIT_UPDATE = { approval: decideApproval, question: answerQuestion, tool: submitToolResult } as const;

/** Answers after which the workspace is another than before. */
const CHANGES: ReadonlySet<WorkspaceAnswer["found"]> = new Set(["written", "removed", "downloaded"] as const);

export interface TemporalPlace {
  readonly address: string;
  readonly namespace: string;
  /** Whether the stack was told to use a Temporal that may be another stack's. */
  readonly isGuest: boolean;
  /** Of the stack: it says which workflow carries which session. */
  readonly store: Pick<Store, "stack" | "database" | "tickets">;
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
  const client = new Client({
    connection,
    namespace: at.namespace,
    // A workflow that was terminated says what it was at then, as if it still were.
    workflow: { queryRejectCondition: "NOT_COMPLETED_CLEANLY" },
  });
  const { store } = at;
  const taskQueue = stackQueue(store.stack);
  const [looks, transfers] = [new SessionShares(), new SessionShares()];
  const inFlight = new Set<Promise<unknown>>();
  const bounded: Bounded = (timeoutMs, call) =>
    withinTime(timeoutMs, () => {
      const running = connection.withDeadline(Date.now() + timeoutMs, call);
      inFlight.add(running);
      void running.catch(() => undefined).finally(() => inFlight.delete(running));
      return running;
    });
  const through: Through = { client, bounded, taskQueue, store };
  const news = new ChangeNews((sessionId) => keepSoon(through, sessionId));
  const start = (one: SessionStart): Promise<void> => startSession(through, one);
  return {
    start,
    submit: async (sessionId, message) => {
      const { workflow, of } = await reach(through, sessionId);
      const update = { args: [{ ...message, ...of }] as [SubmitMessage], updateId: message.messageId };
      return await bounded(LIMITS.updateTimeoutMs, () => workflow.executeUpdate(submitMessage, update));
    },
    removeMessage: async (sessionId, messageId) => {
      const { workflow, of } = await reach(through, sessionId);
      const update = { args: [{ messageId, ...of }] as [RemoveMessage] };
      await bounded(LIMITS.queryTimeoutMs, () => workflow.executeUpdate(removeMessage, update));
    },
    interrupt: async (sessionId, request) => {
      const { workflow, of } = await reach(through, sessionId);
      await bounded(LIMITS.updateTimeoutMs, () => workflow.signal(interruptTurn, { ...request, ...of }));
    },
    endWait: async (sessionId, ended) => {
      const { workflow, of } = await reach(through, sessionId);
      const updateId = `${ended.callId}-${ended.kind}-${ended.deadline}`;
      const update = { args: [{ ...ended, ...of }] as [WaitEnded], updateId };
      await bounded(LIMITS.updateTimeoutMs, () => workflow.executeUpdate(WAIT_UPDATE[ended.kind], update));
    },
    close: async (sessionId, incarnation) => {
      const { workflow, of } = await reach(through, sessionId, incarnation);
      await bounded(LIMITS.updateTimeoutMs, () => workflow.signal(closeSession, of));
    },
    abandon: async (sessionId) => {
      const place = await placeOf(store, sessionId);
      const run = place && (await ownRun(through, place));
      if (place?.workflowId === undefined || run === undefined) return;
      const workflow = client.workflow.getHandle(place.workflowId, run);
      await bounded(LIMITS.queryTimeoutMs, async () => {
        await workflow.terminate("it does not agree with the rows of its session, and is begun anew from them");
      }).catch((error: unknown) => {
        if (!(error instanceof SessionsError && error.kind === "missing")) throw error;
      });
    },
    running: () => bounded(LIMITS.readyTimeoutMs, () => runningSessions(client, store.stack)),
    end: async ({ workflowId, runId }) => {
      await bounded(LIMITS.queryTimeoutMs, async () => {
        await client.workflow.getHandle(workflowId, runId).terminate("its session is over");
      });
    },
    progress: async (sessionId) => {
      const { workflow, of } = await reach(through, sessionId);
      return await bounded(LIMITS.queryTimeoutMs, () => workflow.query(getProgress, of));
    },
    isStuck: async (sessionId) => {
      const { workflow } = await reach(through, sessionId);
      const { raw } = await bounded(LIMITS.queryTimeoutMs, () => workflow.describe());
      const { attempt, scheduledTime } = raw.pendingWorkflowTask ?? {};
      const waitsMs = Date.now() - Number(scheduledTime?.seconds ?? Number.POSITIVE_INFINITY) * 1_000;
      return (attempt ?? 0) >= LIMITS.stuckTaskTries || waitsMs > LIMITS.stuckTaskMs;
    },
    purge: (sessionId, incarnation) => purge(through, sessionId, incarnation),
    workspace: async (request, key) => {
      const shares = movesMuch(request.operation) ? transfers : looks;
      const answer = await shares.run(request.sessionId, () => lookInto(through, request, key));
      // The answer does not wait for it.
      if (CHANGES.has(answer.found)) news.changed(request.sessionId);
      return answer;
    },
    runCommand: (command) => runCommand(through, command),
    stopCommand: (command) => stopCommand(through, command),
    stopIdle: (key) => stopIdle(through, key),
    serveTerminal: (key) => serveTerminal(through, key),
    check: () =>
      bounded(LIMITS.readyTimeoutMs, async () => {
        const { namespaceInfo } = await connection.workflowService.describeNamespace({ namespace: at.namespace });
        const mark = namespaceInfo?.data?.[STACK_MARK];
        if (mark === undefined || mark === store.stack || at.isGuest) return;
        throw new SessionsError(
          "foreign",
          `Temporal at ${at.address} belongs to stack ${mark}, and this store is of stack ${store.stack}`,
        );
      }),
    [Symbol.asyncDispose]: async () => {
      news[Symbol.dispose]();
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

/** The workflow that is known to carry the session, and what its messages say of whom they are for. */
async function reach(
  { client, store }: Through,
  sessionId: SessionId,
  incarnation?: string,
): Promise<{ readonly workflow: WorkflowHandle; readonly of: ForIncarnation }> {
  const place = await placeOf(store, sessionId, incarnation);
  if (place?.workflowId === undefined) throw new SessionsError("missing", "the session's workflow was not started yet");
  const of = place.incarnation === "" ? {} : { incarnation: place.incarnation };
  return { workflow: client.workflow.getHandle(place.workflowId), of };
}

async function runningSessions(client: Client, stack: string): Promise<readonly WorkflowRun[]> {
  const before = new Date(Date.now() - LIMITS.leftOlderMs).toISOString();
  const query = `WorkflowType = '${SESSION_WORKFLOW}' AND ExecutionStatus = 'Running' AND StartTime < '${before}'`;
  const runs: WorkflowRun[] = [];
  for await (const { memo, workflowId, runId } of client.workflow.list({ query, pageSize: 1_000 })) {
    if (memo?.["stack"] === stack) runs.push({ workflowId, runId });
    if (runs.length >= LIMITS.leftMax) break;
  }
  return runs;
}

async function purge(through: Through, sessionId: SessionId, incarnation?: string): Promise<void> {
  const { client, bounded, taskQueue, store } = through;
  const place = await placeOf(store, sessionId, incarnation);
  if (!place) return;
  // Before its row goes: afterwards nothing tells whose the workflow is, and a new session may have the id.
  const run = await ownRun(through, place);
  const workflowId = ownWorkflowId("purge", sessionId, scopeOf(store, place));
  await bounded(LIMITS.purgeTimeoutMs, () =>
    client.workflow.execute(PURGE_WORKFLOW, {
      workflowId,
      taskQueue,
      args: [{ sessionId, ticket: store.tickets.of("purge", place) }],
      workflowIdConflictPolicy: "USE_EXISTING",
      workflowIdReusePolicy: "ALLOW_DUPLICATE",
      workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    }),
  );
  // The session is gone for every client by now; a history that stays is removed by Temporal's retention.
  if (place.workflowId !== undefined && run !== undefined) {
    await forget(through, { workflowId: place.workflowId, runId: run });
  }
  await forget(through, { workflowId });
}

async function forget(
  { client, bounded }: Through,
  workflowExecution: { readonly workflowId: string; readonly runId?: string },
): Promise<void> {
  const { namespace } = client.options;
  await bounded(LIMITS.queryTimeoutMs, async () => {
    await client.workflowService.deleteWorkflowExecution({ namespace, workflowExecution });
  }).catch(() => undefined);
}
