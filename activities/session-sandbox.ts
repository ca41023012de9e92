/** A session's sandbox: made on first use under a deterministic name, made anew when it is lost, stopped when the session closes. */
import { ApplicationFailure } from "@temporalio/activity";
import type { AgentFile } from "../contract/agents.ts";
import type { SessionId } from "../contract/ids.ts";
import { type Sandbox, SandboxError, type SandboxProvider } from "../sandbox/provider.ts";
import { beginSandbox, currentSandbox, moveSandbox, type SandboxRecord } from "../store/sandboxes.ts";
import { sessionSetup } from "../store/session-setup.ts";
import type { Store } from "../store/store.ts";

export interface SandboxDeps {
  readonly store: Store;
  readonly sandboxes: SandboxProvider;
  readonly host: string;
}

/**
 * The live sandbox of a session. Whoever calls, however many at once, gets the same one; when the newest is gone, or
 * lives on another host, the log says that it is lost and a new generation takes its place.
 */
export async function openSandbox(deps: SandboxDeps, sessionId: SessionId): Promise<Sandbox> {
  const { database } = deps.store;
  const record = await currentSandbox(database, sessionId);
  if (record?.state === "ready" && record.host === deps.host) {
    const alive = await deps.sandboxes.find(record.sandboxId);
    if (alive) return alive;
    return await make(deps, sessionId, {
      generation: record.generation + 1,
      lost: "its files are gone from this host",
    });
  }
  if (record?.state === "starting" && record.host === deps.host) return await finish(deps, sessionId, record);
  if (record?.state === "stopped") {
    throw ApplicationFailure.nonRetryable(`the sandbox of session ${sessionId} is stopped`, "SandboxStopped");
  }
  const lost = record ? { lost: `it lived on host ${record.host}` } : {};
  return await make(deps, sessionId, { generation: (record?.generation ?? 0) + 1, ...lost });
}

async function make(
  deps: SandboxDeps,
  sessionId: SessionId,
  wanted: { readonly generation: number; readonly lost?: string },
): Promise<Sandbox> {
  const place = { provider: deps.sandboxes.name, host: deps.host };
  const record = await beginSandbox(deps.store.database, sessionId, { ...place, ...wanted });
  return await finish(deps, sessionId, record);
}

async function finish(deps: SandboxDeps, sessionId: SessionId, record: SandboxRecord): Promise<Sandbox> {
  const sandbox = await deps.sandboxes.open(record.sandboxId);
  const { agent } = await sessionSetup(deps.store.database.read, sessionId);
  for (const file of agent.files) await layFile(sandbox, file);
  await moveSandbox(deps.store.database, sessionId, { record, from: ["starting"], to: "ready" });
  return sandbox;
}

/**
 * One of the agent's files, before anything runs. One that is there is left alone: several may be making this sandbox at once,
 * and what the first has made ready, a tool of the agent may have changed already.
 */
async function layFile(sandbox: Sandbox, { path, content, data }: AgentFile): Promise<void> {
  try {
    if ((await sandbox.stat(path))?.kind === "file") return;
    await sandbox.writeFile(path, data === undefined ? Buffer.from(content ?? "") : Buffer.from(data, "base64"));
  } catch (error) {
    if (!(error instanceof SandboxError) || error.kind === "lost") throw error;
    const message = `the agent's file ${path} cannot be laid into the sandbox: ${error.message}`;
    throw new SandboxError("failed", message, { cause: error });
  }
}

/** Makes the sandbox ahead. What cannot be made so is told by the tools that need it; to try again would change nothing. */
export async function prepareSandbox(deps: SandboxDeps, sessionId: SessionId): Promise<void> {
  try {
    await openSandbox(deps, sessionId);
  } catch (error) {
    if (!(error instanceof SandboxError) || error.kind === "lost") throw error;
    throw ApplicationFailure.nonRetryable(error.message, `Sandbox.${error.kind}`);
  }
}

/** The sandbox of a session when it has one that is alive here; it makes none. */
export async function findSandbox(deps: SandboxDeps, sessionId: SessionId): Promise<Sandbox | undefined> {
  const record = await currentSandbox(deps.store.database, sessionId);
  return record && record.host === deps.host ? await deps.sandboxes.find(record.sandboxId) : undefined;
}

/** Ends everything that runs in the session's sandbox and removes it. */
export async function stopSandbox(deps: SandboxDeps, sessionId: SessionId): Promise<void> {
  const record = await currentSandbox(deps.store.database, sessionId);
  if (!record) return;
  if (record.host === deps.host) await deps.sandboxes.remove(record.sandboxId);
  await moveSandbox(deps.store.database, sessionId, { record, from: ["starting", "ready"], to: "stopped" });
}
