/** Sandbox rows: one per generation of a session's sandbox, with where it lives, what it was made from, and what was lost before it. */
import { createHash } from "node:crypto";
import { type Kysely, type RawBuilder, type SqlBool, sql } from "kysely";
import type { SandboxId, SessionId, SnapshotId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxProviderName, SandboxSpec } from "../contract/sandbox.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import { idleMsOf, isAtWork, lastWork, restsSince } from "./sandbox-use.ts";
import type { SandboxesTable, Schema } from "./schema.ts";
import { restoredFrom } from "./snapshot-origin.ts";

export interface SandboxRecord {
  readonly sandboxId: SandboxId;
  readonly provider: SandboxProviderName;
  readonly generation: number;
  /** Empty: any worker reaches it. */
  readonly host: string;
  readonly state: "starting" | "ready" | "lost" | "stopped" | "idle";
  readonly spec: SandboxSpec;
  readonly restoredFrom: SnapshotId | null;
  readonly usedAt: number;
}

/** The deterministic name of a session's sandbox: whoever makes it, in whatever process, makes the same one. */
export function sandboxName(sessionId: SessionId, generation: number, incarnation: string): SandboxId {
  const name = `sbx_${sessionId}-${generation}` as const;
  return incarnation === "" ? name : `${name}-${tagOf(incarnation)}`;
}

const TAG_LETTERS = 6;

/** Letters alone: what ends with a digit is of a version before 0.4. An earlier session of the same id has another one. */
function tagOf(incarnation: string): string {
  const bytes = createHash("sha256").update(incarnation).digest().subarray(0, TAG_LETTERS);
  return Array.from(bytes, (byte) => String.fromCharCode(97 + (byte % 26))).join("");
}

/** The session that a sandbox of ours was made for, by its name. */
export function sessionOfSandbox(sandboxId: SandboxId): { readonly sessionId: SessionId; readonly generation: number } {
  const [, sessionId = "", generation = ""] = /^sbx_(.*)-(\d+)(?:-[a-z]+)?$/.exec(sandboxId) ?? [];
  return { sessionId: sessionId as SessionId, generation: Number(generation) };
}

/** The newest generation, if there is one. */
export async function currentSandbox(database: Database, sessionId: SessionId): Promise<SandboxRecord | undefined> {
  const row = await database.read
    .selectFrom("sandboxes")
    .selectAll()
    .where("session_id", "=", sessionId)
    .orderBy("generation", "desc")
    .limit(1)
    .executeTakeFirst();
  return row && toRecord(row);
}

function toRecord(row: SandboxesTable): SandboxRecord {
  return {
    sandboxId: row.id as SandboxId,
    provider: row.provider as SandboxProviderName,
    generation: row.generation,
    host: row.host,
    state: row.state as SandboxRecord["state"],
    spec: row.spec === null ? {} : (JSON.parse(row.spec) as SandboxSpec), // A row of ours, written from a parsed value.
    restoredFrom: row.restored_from as SnapshotId | null,
    usedAt: row.used_at,
  };
}

export interface WantedSandbox {
  readonly provider: SandboxProviderName;
  readonly host: string;
  readonly generation: number;
  readonly spec: SandboxSpec;
  readonly restoredFrom: SnapshotId | null;
  /** Why the generation before is gone, and what went with it. Left out: nothing was lost. */
  readonly loss?: { readonly reason: string; readonly lost: readonly string[] };
}

/** Records a new generation as starting; the one before is lost, which is said first. A generation that is there already is given back as it is. */
export async function beginSandbox(
  database: Database,
  sessionId: SessionId,
  wanted: WantedSandbox,
): Promise<SandboxRecord> {
  const { provider, host, generation, loss } = wanted;
  const row = await database.write(async (tx) => {
    const session = tx.selectFrom("sessions").select("incarnation").where("id", "=", sessionId);
    const { incarnation = "" } = (await session.executeTakeFirst()) ?? {};
    const sandboxId = sandboxName(sessionId, generation, incarnation);
    const made = await tx
      .insertInto("sandboxes")
      .values({
        session_id: sessionId,
        generation,
        id: sandboxId,
        provider,
        host,
        state: "starting",
        changed_at: Date.now(),
        spec: JSON.stringify(wanted.spec),
        restored_from: wanted.restoredFrom,
        lost: loss ? JSON.stringify(loss.lost) : null,
        told: 0,
        used_at: Date.now(),
        network_offset: 0,
        maker: null,
        maker_until: 0,
        unkept: null,
      })
      .onConflict((conflict) => conflict.columns(["session_id", "generation"]).doNothing())
      .returningAll()
      .executeTakeFirst();
    if (!made) return undefined;
    const before = await tx
      .updateTable("sandboxes")
      .set({ state: "lost", changed_at: Date.now() })
      .where("session_id", "=", sessionId)
      .where("generation", "<", generation)
      .where("state", "in", ["starting", "ready"])
      .returningAll()
      .execute();
    await append(tx, sessionId, [
      ...before.map((lost) => ({
        type: "sandbox.lost" as const,
        sandboxId: lost.id as SandboxId,
        provider: lost.provider,
        generation: lost.generation,
        message: loss?.reason ?? "the sandbox is gone",
      })),
      { type: "sandbox.starting", sandboxId, provider, generation },
    ]);
    return made;
  });
  const record = row ? toRecord(row) : await currentSandbox(database, sessionId);
  if (!record) throw new Error(`the sandbox of session ${sessionId} is gone`);
  return record;
}

/**
 * Says that a sandbox is ready, and what it took the place of. Only the first to say so is heard. false: nobody waits for it any
 * more, because it was taken for lost or its session was closed meanwhile.
 */
export async function readySandbox(database: Database, sessionId: SessionId, record: SandboxRecord): Promise<boolean> {
  const { sandboxId, provider, generation } = record;
  return await database.write(async (tx) => {
    const moved = await tx
      .updateTable("sandboxes")
      .set({ state: "ready", changed_at: Date.now(), used_at: Date.now(), maker: null, maker_until: 0 })
      .where("session_id", "=", sessionId)
      .where("generation", "=", generation)
      .where("id", "=", sandboxId)
      .where("state", "=", "starting")
      .returning(["restored_from", "lost"])
      .executeTakeFirst();
    if (!moved) {
      const row = await tx.selectFrom("sandboxes").select("state").where("id", "=", sandboxId).executeTakeFirst();
      return row?.state === "ready";
    }
    const place = { sandboxId, provider, generation };
    await append(tx, sessionId, [{ type: "sandbox.ready", ...place }]);
    if (moved.lost === null) return true;
    const origin = await restoredFrom(tx, moved.restored_from);
    const lost = JSON.parse(moved.lost) as string[];
    await append(tx, sessionId, [{ type: "sandbox.replaced", ...place, restoredFrom: origin, lost }]);
    return true;
  });
}

/**
 * Stops a sandbox for good, or until it is needed again, and says so, once. false: it is idle no more, because somebody has used
 * it since its record was read, and what they have done may be in no snapshot.
 */
export async function stopSandboxRow(
  database: Database,
  sessionId: SessionId,
  stop: { readonly record: SandboxRecord; readonly reason: "closed" | "idle" },
): Promise<boolean> {
  const { sandboxId, provider, generation } = stop.record;
  const from = stop.reason === "closed" ? ["starting", "ready", "idle"] : ["ready"];
  return await database.write(async (tx) => {
    const before = await tx
      .selectFrom("sandboxes")
      .select(["state", "used_at"])
      .where("session_id", "=", sessionId)
      .where("generation", "=", generation)
      .where("id", "=", sandboxId)
      .executeTakeFirst();
    if (!before || !from.includes(before.state)) return true;
    if (stop.reason === "idle") {
      const restedSince = await restsSince(tx, sessionId);
      if (restedSince === undefined || Math.max(restedSince, before.used_at) > stop.record.usedAt) return false;
    }
    await tx
      .updateTable("sandboxes")
      .set({ state: stop.reason === "closed" ? "stopped" : "idle", changed_at: Date.now() })
      .where("session_id", "=", sessionId)
      .where("generation", "=", generation)
      .execute();
    if (before.state === "idle") return true; // That it stopped is said.
    await append(tx, sessionId, [{ type: "sandbox.stopped", sandboxId, provider, generation, reason: stop.reason }]);
    return true;
  });
}

export type Making = "mine" | "ready" | "busy" | "gone";

/**
 * Takes the making of a sandbox for a process, or renews it: what is laid into a workspace must not be laid a second time over
 * what a command has changed meanwhile. `busy`: another process makes it, and is believed for `LIMITS.sandboxMakerMs`.
 */
export async function takeMaking(database: Database, record: SandboxRecord, maker: string): Promise<Making> {
  const now = Date.now();
  return await database.write(async (tx) => {
    const taken = await tx
      .updateTable("sandboxes")
      .set({ maker, maker_until: now + LIMITS.sandboxMakerMs })
      .where("id", "=", record.sandboxId)
      .where("state", "=", "starting")
      .where((eb) => eb.or([eb("maker", "is", null), eb("maker", "=", maker), eb("maker_until", "<", now)]))
      .returning("id")
      .executeTakeFirst();
    if (taken) return "mine";
    const row = await tx.selectFrom("sandboxes").select("state").where("id", "=", record.sandboxId).executeTakeFirst();
    if (row?.state === "ready") return "ready";
    return row?.state === "starting" ? "busy" : "gone";
  });
}

export interface IdleSandbox {
  readonly sessionId: SessionId;
  readonly idleMs: number;
  readonly record: SandboxRecord;
}

/** Sandboxes that nobody has used for as long as their spec lets them idle; a little longer, for their sessions' own timers are first. */
export async function idleSandboxes(database: Database): Promise<readonly IdleSandbox[]> {
  const session = sql.ref("sandboxes.session_id");
  const rows = await database.read
    .selectFrom("sandboxes")
    .innerJoin("sessions", "sessions.id", "sandboxes.session_id")
    .selectAll("sandboxes")
    .select(lastWork(session).as("worked_at"))
    .where("sandboxes.state", "=", "ready")
    // Those in use are most of them, and are left out before anything else is looked at.
    .where("sandboxes.used_at", "<", Date.now() - LIMITS.sandboxUseNotedMs)
    .where("sessions.closed_at", "is", null)
    .where(sql<SqlBool>`not ${isAtWork(session)}`)
    .execute();
  return rows.flatMap((row) => {
    const record = toRecord(row);
    const idleMs = idleMsOf(record);
    const isIdle = Date.now() - Math.max(record.usedAt, row.worked_at) > idleMs + LIMITS.sandboxUseNotedMs;
    return isIdle ? [{ sessionId: row.session_id as SessionId, idleMs, record }] : [];
  });
}

/**
 * What the model has not been told yet of a sandbox that took the place of a lost one; told from now on. So in the transaction
 * that commits what tells it: one that comes to nothing leaves it untold.
 */
export async function takeNews(
  tx: Tx,
  sessionId: SessionId,
): Promise<{ readonly lost: readonly string[]; readonly isRestored: boolean } | undefined> {
  const untold = await tx
    .selectFrom("sandboxes")
    .select(["id", "lost", "restored_from"])
    .where("session_id", "=", sessionId)
    .where("told", "=", 0)
    .where("lost", "is not", null)
    .where("state", "=", "ready")
    .executeTakeFirst();
  if (!untold?.lost) return undefined;
  await tx.updateTable("sandboxes").set({ told: 1 }).where("id", "=", untold.id).execute();
  return { lost: JSON.parse(untold.lost) as string[], isRestored: untold.restored_from !== null };
}

/** The newest generation as part of a statement; 0 when there is none. */
export function newestGeneration(sessionId: string): RawBuilder<number> {
  return sql<number>`(select coalesce(max(generation), 0) from sandboxes where session_id = ${sessionId})`;
}

/** Whether a sandbox of the session was lost after that generation had begun. */
export async function hasLostSince(from: Kysely<Schema>, sessionId: string, generation: number): Promise<boolean> {
  const row = await from
    .selectFrom("sandboxes")
    .select("id")
    .where("session_id", "=", sessionId)
    .where("generation", ">", generation)
    .where("lost", "is not", null)
    .executeTakeFirst();
  return row !== undefined;
}

/** Whether a worker of that host has been heard of lately. */
export async function isHostSeen(database: Database, host: string): Promise<boolean> {
  const row = await database.read.selectFrom("hosts").select("seen_at").where("host", "=", host).executeTakeFirst();
  return row !== undefined && Date.now() - row.seen_at < LIMITS.hostGoneMs;
}

/** A worker of this host lives. */
export async function seeHost(database: Database, host: string): Promise<void> {
  const now = Date.now();
  await database.write((tx) =>
    tx
      .insertInto("hosts")
      .values({ host, seen_at: now })
      .onConflict((conflict) => conflict.column("host").doUpdateSet({ seen_at: now }))
      .execute(),
  );
}
