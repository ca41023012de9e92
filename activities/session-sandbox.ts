/**
 * A session's sandbox: made on first use under a deterministic name, made anew from its newest snapshot when it is lost or
 * was stopped while idle, removed when the session closes.
 */
import { ApplicationFailure, Context } from "@temporalio/activity";
import type { AgentFile } from "../contract/agents.ts";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { ELSEWHERE } from "../contract/steps.ts";
import { hostQueue } from "../contract/task-queue.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import type { SandboxProviders } from "../sandbox/registry.ts";
import { StoreError } from "../store/error.ts";
import { noteUse } from "../store/sandbox-use.ts";
import {
  beginSandbox,
  currentSandbox,
  isHostSeen,
  readySandbox,
  type SandboxRecord,
  stopSandboxRow,
} from "../store/sandboxes.ts";
import { sessionSetup } from "../store/session-setup.ts";
import { dropSnapshots, newestSnapshot } from "../store/snapshots.ts";
import type { Store } from "../store/store.ts";
import { closeTerminals } from "../store/terminals.ts";
import { adoptFiles } from "./file-changes.ts";
import { makeOnce } from "./sandbox-making.ts";
import type { WorkerSecrets } from "./secret-choice.ts";
import { restoreSnapshot } from "./snapshot-restore.ts";

/** Tries to remove a sandbox before it is left to the sweeper. */
const REMOVALS_MAX = 5;

export interface SandboxDeps {
  readonly store: Store;
  readonly sandboxes: SandboxProviders;
  readonly host: string;
  /** Default: none. */
  readonly secrets?: WorkerSecrets;
}

/**
 * The live sandbox of a session; the caller disposes of the handle. Whoever calls, however many at once, gets the same one;
 * when the newest is gone, or its host is, the log says that it is lost and a new generation takes its place.
 * Throws an ApplicationFailure of the type ELSEWHERE when only the workers of another host reach it.
 */
export async function openSandbox(
  deps: SandboxDeps,
  sessionId: SessionId,
  /** Called when it is not there yet, or not any more, before it is made: that may take long, and end in the middle. */
  beforeMaking: () => Promise<void> = async () => undefined,
): Promise<Sandbox> {
  const { database } = deps.store;
  const record = await currentSandbox(database, sessionId);
  switch (record?.state) {
    case "stopped":
      throw ApplicationFailure.nonRetryable(`the sandbox of session ${sessionId} is stopped`, "SandboxStopped");
    case "ready":
    case "starting": {
      if (record.host !== "" && record.host !== deps.host) {
        await beforeMaking();
        return await openFromAfar(deps, sessionId, record);
      }
      if (record.state === "starting") {
        await beforeMaking();
        return await finish(deps, sessionId, record);
      }
      const alive = await deps.sandboxes.allowed(record.provider).find(record.sandboxId);
      if (!alive) {
        await beforeMaking();
        return await replace(deps, sessionId, { record, reason: "it is no longer there" });
      }
      if (await noteUse(database, record)) return alive;
      // It was stopped in this moment.
      await alive[Symbol.asyncDispose]();
      return await openSandbox(deps, sessionId, beforeMaking);
    }
    default:
      await beforeMaking();
      return await make(deps, sessionId, { generation: (record?.generation ?? 0) + 1 });
  }
}

/** The task queue of the workers that reach the session's sandbox, when this one does not. */
export async function sandboxQueue(deps: SandboxDeps, record: SandboxRecord | undefined): Promise<string | undefined> {
  if (record?.state !== "ready" && record?.state !== "starting") return undefined;
  if (record.host === "" || record.host === deps.host) return undefined;
  return (await isHostSeen(deps.store.database, record.host)) ? hostQueue(deps.store.stack, record.host) : undefined;
}

/** Throws ELSEWHERE when this worker does not reach the session's sandbox: before anything of a call is begun here. */
export async function requireSandboxHere(deps: SandboxDeps, sessionId: SessionId): Promise<void> {
  const queue = await sandboxQueue(deps, await currentSandbox(deps.store.database, sessionId));
  if (queue !== undefined) throw elsewhereFailure(queue);
}

/** A sandbox on another host: theirs to open while they live. */
async function openFromAfar(deps: SandboxDeps, sessionId: SessionId, record: SandboxRecord): Promise<Sandbox> {
  if (await isHostSeen(deps.store.database, record.host)) throw elsewhere(deps, record);
  const reason = `its host ${record.host} has been silent for ${LIMITS.hostGoneMs / 1000} s`;
  return await replace(deps, sessionId, { record, reason });
}

function elsewhere(deps: SandboxDeps, record: SandboxRecord): ApplicationFailure {
  return elsewhereFailure(hostQueue(deps.store.stack, record.host));
}

function elsewhereFailure(queue: string): ApplicationFailure {
  const message = "the session's sandbox is on another host";
  // Benign: it is how the workflow learns where to ask, and no fault of anybody.
  const asked = { nonRetryable: true, details: [queue], category: "BENIGN" as const };
  return ApplicationFailure.create({ message, type: ELSEWHERE, ...asked });
}

async function replace(
  deps: SandboxDeps,
  sessionId: SessionId,
  gone: { readonly record: SandboxRecord; readonly reason: string },
): Promise<Sandbox> {
  const snapshot = await newestSnapshot(deps.store.database, sessionId);
  const files = snapshot
    ? `what was changed in the workspace after ${new Date(snapshot.madeAt).toISOString()}`
    : "the files of the workspace: there was no snapshot of it yet";
  const lost = [files, "everything that was installed or running outside of the workspace"];
  await clearAway(deps, gone.record);
  const generation = gone.record.generation + 1;
  return await make(deps, sessionId, { generation, loss: { reason: gone.reason, lost } });
}

/** What a lost sandbox has left: programs that go on in a folder that is gone, a container that has ended. Nobody lists those later. */
async function clearAway(deps: SandboxDeps, { host, provider, sandboxId }: SandboxRecord): Promise<void> {
  if (host !== "" && host !== deps.host) return;
  try {
    await deps.sandboxes.provider(provider).remove(sandboxId);
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error; // To go on is worth more; what is listed is swept.
  }
}

async function make(
  deps: SandboxDeps,
  sessionId: SessionId,
  wanted: {
    readonly generation: number;
    readonly loss?: { readonly reason: string; readonly lost: readonly string[] };
  },
): Promise<Sandbox> {
  const { database } = deps.store;
  const [{ agent }, snapshot] = await Promise.all([
    sessionSetup(database.read, sessionId),
    newestSnapshot(database, sessionId),
  ]);
  const spec = agent.sandbox ?? {};
  const name = spec.provider ?? deps.sandboxes.defaultName;
  const { capabilities } = deps.sandboxes.allowed(name);
  const record = await beginSandbox(database, sessionId, {
    ...wanted,
    provider: name,
    host: capabilities.hostBound ? deps.host : "",
    spec,
    restoredFrom: snapshot?.id ?? null,
  });
  // Another host's worker may have begun this generation a moment before.
  if (record.host !== "" && record.host !== deps.host) throw elsewhere(deps, record);
  return await finish(deps, sessionId, record);
}

/** The snapshot that a sandbox was to be made from is not whole: there is no sandbox, and the snapshot is gone. */
class DamagedSnapshot extends Error {
  readonly record: SandboxRecord;

  constructor(record: SandboxRecord) {
    super("the snapshot is damaged");
    this.record = record;
  }
}

/** A snapshot that is not whole is let go of, so that the next generation is made from the one before it, or from none. */
async function restored(
  deps: SandboxDeps,
  sessionId: SessionId,
  { record, sandbox }: { readonly record: SandboxRecord; readonly sandbox: Sandbox },
): Promise<boolean | "damaged"> {
  if (!record.restoredFrom) return false;
  try {
    await restoreSnapshot(deps, { snapshotId: record.restoredFrom, sandbox });
    return true;
  } catch (error) {
    if (!(error instanceof StoreError && error.kind === "corrupt")) throw error;
    await dropSnapshots(deps.store, sessionId, record.restoredFrom);
    return "damaged";
  }
}

/** Makes what is begun. Where its snapshot is damaged, the loss is said, and the next generation is made instead. */
async function finish(deps: SandboxDeps, sessionId: SessionId, record: SandboxRecord): Promise<Sandbox> {
  try {
    return await makeReady(deps, sessionId, record);
  } catch (error) {
    if (!(error instanceof DamagedSnapshot)) throw error;
    return await replace(deps, sessionId, { record, reason: "the snapshot of its workspace is damaged" });
  }
}

/** Makes what is begun: the place, then its files, and only then it is ready. Once, whoever else is at it. */
async function makeReady(deps: SandboxDeps, sessionId: SessionId, record: SandboxRecord): Promise<Sandbox> {
  const provider = deps.sandboxes.allowed(record.provider);
  return await makeOnce(deps.store.database, record, {
    make: async () => {
      const sandbox = await provider.open(record.sandboxId, record.spec);
      const isRestored = await restored(deps, sessionId, { record, sandbox });
      if (isRestored === "damaged") {
        await sandbox[Symbol.asyncDispose]();
        await provider.remove(record.sandboxId);
        throw new DamagedSnapshot(record);
      }
      if (!isRestored) {
        const { agent } = await sessionSetup(deps.store.database.read, sessionId);
        for (const file of agent.files) await layFile(sandbox, file);
      }
      await adoptFiles(deps, { sessionId, sandbox });
      if (await readySandbox(deps.store.database, sessionId, record)) return sandbox;
      // Whoever closed the session may have looked for it before it was there.
      await sandbox[Symbol.asyncDispose]();
      await provider.remove(record.sandboxId);
      throw new SandboxError("lost", "the sandbox was lost or stopped before it was made");
    },
    find: async () => {
      const made = await provider.find(record.sandboxId);
      if (!made) throw new SandboxError("lost", "the sandbox is gone again");
      return made;
    },
  });
}

/** One of the agent's files, before anything runs. One that is there is of a maker that died a moment ago. */
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
    await using _sandbox = await openSandbox(deps, sessionId);
  } catch (error) {
    if (!(error instanceof SandboxError) || error.kind === "lost") throw error;
    throw ApplicationFailure.nonRetryable(error.message, `Sandbox.${error.kind}`);
  }
}

/** The sandbox of a session when it has one that is alive; it makes none. Throws ELSEWHERE as `openSandbox` does. */
export async function findSandbox(deps: SandboxDeps, sessionId: SessionId): Promise<Sandbox | undefined> {
  const record = await currentSandbox(deps.store.database, sessionId);
  if (record?.state !== "ready" && record?.state !== "starting") return undefined;
  if (record.host !== "" && record.host !== deps.host) {
    if (await isHostSeen(deps.store.database, record.host)) throw elsewhere(deps, record);
    return undefined;
  }
  return await deps.sandboxes.allowed(record.provider).find(record.sandboxId);
}

/**
 * Ends everything that runs in the session's sandbox and removes it. Where that cannot be done (its host is gone, its provider
 * is not set up here, or refuses again and again) the session goes on without: what no session owns is swept later.
 */
export async function stopSandbox(deps: SandboxDeps, sessionId: SessionId): Promise<void> {
  const record = await currentSandbox(deps.store.database, sessionId);
  if (!record) return;
  const isHere = record.host === "" || record.host === deps.host;
  if (!isHere && (await isHostSeen(deps.store.database, record.host))) throw elsewhere(deps, record);
  await closeTerminals(deps.store.database, sessionId, "the session was closed");
  if (isHere && record.state !== "stopped") {
    try {
      await deps.sandboxes.provider(record.provider).remove(record.sandboxId);
    } catch (error) {
      if (!(error instanceof SandboxError) || Context.current().info.attempt < REMOVALS_MAX) throw error;
    }
  }
  await stopSandboxRow(deps.store.database, sessionId, { record, reason: "closed" });
}
