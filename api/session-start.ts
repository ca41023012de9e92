/**
 * Starting a session's workflow. Its id is the session's, so that people find it; where a workflow of somebody else has that id,
 * because two stacks share a Temporal, it gets one of ours. Whose a workflow is, its memo says.
 */
import {
  type Client,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionDescription,
} from "@temporalio/client";
import { defineSearchAttributeKey, SearchAttributeType } from "@temporalio/common";
import { LIMITS } from "../contract/limits.ts";
import { sessionAgent } from "../contract/steps.ts";
import { ownWorkflowId } from "../contract/workflow-ids.ts";
import { findPlace, notePlace, type SessionPlace } from "../store/session-places.ts";
import type { Store } from "../store/store.ts";
import { SESSION_WORKFLOW, type SessionInput } from "../workflows/messages.ts";
import { type SessionStart, SessionsError } from "./sessions.ts";
import type { Bounded } from "./temporal-workspaces.ts";

const STATUS = defineSearchAttributeKey("PerdureStatus", SearchAttributeType.KEYWORD);
const AGENT = defineSearchAttributeKey("PerdureAgent", SearchAttributeType.KEYWORD);
/** Of a start under one id: each time something else has happened in between. */
const TRIES_MAX = 5;

export interface Starting {
  readonly client: Client;
  readonly bounded: Bounded;
  readonly taskQueue: string;
  readonly store: Pick<Store, "stack" | "database" | "tickets">;
}

/** Starts it, or finds it running. Throws `missing` when the session is gone. */
export async function startSession(starting: Starting, start: SessionStart): Promise<void> {
  const { database, stack } = starting.store;
  const place = await findPlace(database, start.sessionId);
  if (!place) throw new SessionsError("missing", `session ${start.sessionId} is gone`);
  const ours = ownWorkflowId("session", start.sessionId, stack);
  for (const workflowId of new Set([place.workflowId ?? start.sessionId, ours])) {
    if (!(await isStarted(starting, { start, place, workflowId }))) continue;
    await notePlace(database, place, workflowId);
    return;
  }
  throw new SessionsError("failed", `workflow ${ours} is not of this session, although nobody else can name one so`);
}

interface Wanted {
  readonly start: SessionStart;
  readonly place: SessionPlace;
  readonly workflowId: string;
}

/** False: a workflow of somebody else has that id. */
async function isStarted(starting: Starting, wanted: Wanted): Promise<boolean> {
  const { client, bounded } = starting;
  let mayReuse = false;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const options = startOptions(starting, wanted);
    const workflowIdReusePolicy = mayReuse ? ("ALLOW_DUPLICATE" as const) : ("REJECT_DUPLICATE" as const);
    try {
      await bounded(LIMITS.queryTimeoutMs, () =>
        client.workflow.start(SESSION_WORKFLOW, { ...options, workflowIdReusePolicy }),
      );
      return true;
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
    const found = await describe(starting, wanted.workflowId);
    if (!found) continue; // Its history was removed in this moment.
    const isRunning = found.status.name === "RUNNING";
    switch (ownerOf(found, starting.store.stack, wanted.place)) {
      case "this":
        if (isRunning) return true;
        break; // Terminated, failed or lost to a restore: the next run goes on from the rows.
      case "earlier":
        // Of a deleted session: there is nothing that it could still do.
        if (isRunning) await end(starting, found);
        break;
      case "other":
        if (isRunning) return false;
    }
    mayReuse = true; // What has ended keeps its history, under its run's own id.
  }
  throw new SessionsError("failed", `workflow ${wanted.workflowId} was started by others again and again`);
}

/** The run that carries the session now or did; undefined when there is none, or it is another's. */
export async function ownRun(starting: Starting, place: SessionPlace): Promise<string | undefined> {
  if (place.workflowId === undefined) return undefined;
  const found = await describe(starting, place.workflowId);
  return found && ownerOf(found, starting.store.stack, place) === "this" ? found.runId : undefined;
}

async function describe(
  { client, bounded }: Starting,
  workflowId: string,
): Promise<WorkflowExecutionDescription | undefined> {
  try {
    return await bounded(LIMITS.queryTimeoutMs, () => client.workflow.getHandle(workflowId).describe());
  } catch (error) {
    if (error instanceof SessionsError && error.kind === "missing") return undefined;
    throw error;
  }
}

/** this: the very session. earlier: one of this stack that had the same id. other: nobody we know. */
function ownerOf(
  { memo }: WorkflowExecutionDescription,
  stack: string,
  place: SessionPlace,
): "this" | "earlier" | "other" {
  const { stack: itsStack, incarnation = "" } = memo ?? {};
  // Workflows of before 0.4 say nothing of themselves.
  if (itsStack === undefined) return place.incarnation === "" ? "this" : "other";
  if (itsStack !== stack) return "other";
  return incarnation === place.incarnation ? "this" : "earlier";
}

async function end({ client, bounded }: Starting, found: WorkflowExecutionDescription): Promise<void> {
  try {
    await bounded(LIMITS.queryTimeoutMs, async () => {
      await client.workflow.getHandle(found.workflowId, found.runId).terminate("its session was deleted");
    });
  } catch (error) {
    if (!(error instanceof SessionsError && error.kind === "missing")) throw error;
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof SessionsError && error.cause instanceof WorkflowExecutionAlreadyStartedError;
}

function startOptions({ taskQueue, store }: Starting, { start, place, workflowId }: Wanted) {
  const { agent, title, sessionId } = start;
  const { incarnation } = place;
  const ticket = store.tickets.of("session", { sessionId, incarnation });
  const input: SessionInput = {
    sessionId,
    agent: sessionAgent(agent),
    keepsWorkspace: true,
    continuesAnywhere: true,
    recovers: true,
    incarnation,
    ticket,
  };
  return {
    workflowId,
    taskQueue,
    args: [input],
    workflowTaskTimeout: LIMITS.workflowTaskTimeoutMs,
    workflowIdConflictPolicy: "FAIL" as const,
    typedSearchAttributes: [
      { key: STATUS, value: "idle" },
      { key: AGENT, value: agent.name },
    ],
    memo: { stack: store.stack, incarnation, ...(title !== null && { title }) },
    staticSummary: start.summary,
  };
}
