/** What keeps sandboxes in order: their workspaces in snapshots, idle ones stopped, and those that no session owns removed. */
import { Context, log } from "@temporalio/activity";
import type { SandboxId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { hostQueue } from "../contract/task-queue.ts";
import { SandboxError, type SandboxProvider } from "../sandbox/provider.ts";
import { sweepBlobs } from "../store/blob-sweep.ts";
import { dropClosedSnapshots, purgeClosed } from "../store/closed-sessions.ts";
import { SupersededError } from "../store/error.ts";
import { giveBackFreePages } from "../store/free-pages.ts";
import { isCallCommitted, liveHosts, ownsSandbox } from "../store/sandbox-owners.ts";
import { restsSince } from "../store/sandbox-use.ts";
import { currentSandbox, idleSandboxes, type SandboxRecord, stopSandboxRow } from "../store/sandboxes.ts";
import { admitted, type SessionKey } from "./admission.ts";
import { attempted } from "./attempt.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { findSandbox } from "./session-sandbox.ts";
import { SnapshotTurns } from "./snapshot-turns.ts";
import { ATTEMPTS_LAST, keepWorkspace } from "./workspace-keeping.ts";

export interface IdleKey extends SessionKey {
  readonly idleMs: number;
}

export interface SnapshotKey extends SessionKey {
  readonly turnId?: TurnId;
}

/** `ticket`: the proof that this stack has asked for it. */
export interface SweepOrder {
  readonly ticket?: string;
}

export interface Swept {
  readonly removed: number;
  readonly stopped: number;
  /** The first of those that were removed. */
  readonly ids: readonly SandboxId[];
}

export interface SandboxUpkeep {
  /** Keeps the workspace as a turn, a command or a caller has left it. */
  snapshotWorkspace(key: SnapshotKey): Promise<void>;
  /** Stops a sandbox that nobody has used for so long, its workspace kept. 0: it is stopped, or there is none; else when to look again. */
  stopIdleSandbox(key: IdleKey): Promise<{ readonly againInMs: number }>;
  /** The task queues of the hosts that live, so that each can be swept. */
  listHostQueues(): Promise<readonly string[]>;
  /** Removes what no session owns, of the providers that this worker has; stops what its session has forgotten to. */
  sweepSandboxes(order?: SweepOrder): Promise<Swept>;
}

const IDS_TOLD = 20;

export function createSandboxUpkeep(deps: RunToolDeps): SandboxUpkeep {
  const { database } = deps.store;
  const turns = new SnapshotTurns();
  const keep = async ({ sessionId, turnId }: SnapshotKey): Promise<void> => {
    const record = await currentSandbox(database, sessionId);
    await using sandbox = await findSandbox(deps, sessionId);
    if (!sandbox || record?.state !== "ready") return;
    await keepWorkspace(deps, { sessionId, turnId, sandbox, record, attempt: Context.current().info.attempt });
  };
  return {
    snapshotWorkspace: (key) =>
      admitted(deps, { key, kinds: ["session", "keep", "command"] }, async ({ signal }) => {
        // A turn's is told by its own event, and there is one at a time.
        if (key.turnId !== undefined) await keep(key);
        else await turns.run(key.sessionId, signal, () => keep(key));
      }),
    stopIdleSandbox: async (key) =>
      (await admitted(deps, { key, kinds: ["session", "idle"] }, async () => ({
        againInMs: await stopIdle(deps, key),
      }))) ?? { againInMs: 0 },
    listHostQueues: async () => (await liveHosts(database)).map((host) => hostQueue(deps.store.stack, host)),
    sweepSandboxes: (order) =>
      attempted(deps, () => {
        if (deps.store.tickets.isOfStack("sweep", order?.ticket)) return sweep(deps);
        throw new SupersededError(
          "this sweep has no ticket: it was started by an earlier version, or not by this stack",
        );
      }),
  };
}

/** 0 when it is stopped or not there. */
async function stopIdle(deps: RunToolDeps, { sessionId, idleMs }: IdleKey): Promise<number> {
  const { database } = deps.store;
  // Throws for one on another host; and one that is lost is told by whoever needs it next.
  await using sandbox = await findSandbox(deps, sessionId);
  const record = await currentSandbox(database, sessionId);
  if (!sandbox || record?.state !== "ready") return 0;
  const since = await restsSince(database.read, sessionId);
  if (since === undefined) return idleMs;
  const usedAt = Math.max(record.usedAt, since);
  const leftMs = usedAt + idleMs - Date.now();
  // Its last use is written down only now and then, so it may be a little younger than its row says.
  if (leftMs > 0) return Math.max(leftMs, LIMITS.sandboxUseNotedMs / 10);
  // With what cannot be kept it is not stopped: that would take its files away without a word.
  if (!(await keepWorkspace(deps, { sessionId, sandbox, record, attempt: ATTEMPTS_LAST })))
    return Math.max(idleMs, LIMITS.idleAgainMs);
  const stop = { record: { ...record, usedAt }, reason: "idle" } as const;
  // Somebody came meanwhile.
  if (!(await stopSandboxRow(database, sessionId, stop))) return idleMs;
  await deps.sandboxes.provider(record.provider).remove(record.sandboxId);
  return 0;
}

async function sweep(deps: RunToolDeps): Promise<Swept> {
  const removed: SandboxId[] = [];
  for (const { provider } of deps.sandboxes.entries) {
    if (provider) {
      removed.push(...(await sweepProvider(deps, provider)));
      await tidied(deps, provider);
    }
  }
  if (removed.length > 0) log.info("sandboxes that no session owns were removed", { removed: removed.length });
  const stopped = await stopForgotten(deps);
  await sweepStore(deps);
  return { removed: removed.length, stopped, ids: removed.slice(0, IDS_TOLD) };
}

/** What sessions have left in the store: each part in bounded rounds, of which the next sweep makes another. */
async function sweepStore({ store, closedKeptMs }: RunToolDeps): Promise<void> {
  const { database, blobs } = store;
  const dropped = await dropClosedSnapshots(store);
  if (dropped > 0) log.info("snapshots of closed sessions were removed", { sessions: dropped });
  if (closedKeptMs !== undefined) {
    const purged = await purgeClosed(database, closedKeptMs);
    for (const id of purged) store.transcripts.forget(id);
    if (purged.length > 0) log.info("closed sessions were deleted, as they were kept long enough", { ids: purged });
  }
  await sweepBlobs(database, blobs, { ageMs: LIMITS.strayBlobMs });
  await giveBackFreePages(database);
}

async function sweepProvider(deps: RunToolDeps, provider: SandboxProvider): Promise<readonly SandboxId[]> {
  const removed: SandboxId[] = [];
  const oldest = Date.now() - LIMITS.sweepAfterMs;
  for (const { id, madeAt } of await listed(provider)) {
    // One that was made just now may not have its row yet, or its session is being closed.
    if (madeAt === undefined || madeAt > oldest || (await ownsSandbox(deps.store.database, id))) continue;
    try {
      await provider.remove(id);
      removed.push(id);
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      log.warn("a sandbox that no session owns was not removed", { sandbox: id, error: error.message });
    }
  }
  return removed;
}

async function tidied({ store }: RunToolDeps, provider: SandboxProvider): Promise<void> {
  try {
    await provider.tidy?.((callId) => isCallCommitted(store.database, callId));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    log.warn("what sandboxes had left was not removed", { provider: provider.name, error: message });
  }
}

/** A provider that cannot be reached now is swept the next time. */
async function listed(provider: SandboxProvider): ReturnType<SandboxProvider["list"]> {
  try {
    return await provider.list();
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    log.warn("the sandboxes of a provider could not be listed", { provider: provider.name, error: error.message });
    return [];
  }
}

/** Sandboxes that a look into a workspace woke: their sessions, which sleep, do not know of it. */
async function stopForgotten(deps: RunToolDeps): Promise<number> {
  let stopped = 0;
  for (const { sessionId, idleMs, record } of await idleSandboxes(deps.store.database)) {
    if (!isHere(deps, record)) continue;
    if ((await stopIdle(deps, { sessionId, idleMs })) === 0) stopped++;
  }
  return stopped;
}

function isHere(deps: RunToolDeps, record: SandboxRecord): boolean {
  const isOurs = record.host === "" || record.host === deps.host;
  return isOurs && deps.sandboxes.entries.some(({ name, provider }) => name === record.provider && provider);
}
