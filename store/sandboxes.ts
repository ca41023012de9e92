/** Sandbox rows: one per generation of a session's sandbox, with where it lives. */
import type { SandboxId, SessionId } from "../contract/ids.ts";
import type { Database } from "./database.ts";
import { append } from "./event-log.ts";

export interface SandboxRecord {
  readonly sandboxId: SandboxId;
  readonly provider: string;
  readonly generation: number;
  readonly host: string;
  readonly state: "starting" | "ready" | "lost" | "stopped";
}

/** The deterministic name of a session's sandbox: whoever makes it, in whatever process, makes the same one. */
export function sandboxName(sessionId: SessionId, generation: number): SandboxId {
  return `sbx_${sessionId}-${generation}`;
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
  return (
    row && {
      sandboxId: row.id as SandboxId,
      provider: row.provider,
      generation: row.generation,
      host: row.host,
      state: row.state as SandboxRecord["state"],
    }
  );
}

/** Records a new generation as starting; the one before is lost, which is said first. A generation that is there already changes nothing. */
export async function beginSandbox(
  database: Database,
  sessionId: SessionId,
  wanted: { readonly provider: string; readonly host: string; readonly generation: number; readonly lost?: string },
): Promise<SandboxRecord> {
  const { provider, host, generation } = wanted;
  const sandboxId = sandboxName(sessionId, generation);
  await database.write(async (tx) => {
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
        spec: null,
        restored_from: null,
        lost: null,
        told: 0,
        used_at: Date.now(),
        network_offset: 0,
      })
      .onConflict((conflict) => conflict.columns(["session_id", "generation"]).doNothing())
      .returning("generation")
      .executeTakeFirst();
    if (!made) return;
    const before = await tx
      .updateTable("sandboxes")
      .set({ state: "lost", changed_at: Date.now() })
      .where("session_id", "=", sessionId)
      .where("generation", "<", generation)
      .where("state", "in", ["starting", "ready"])
      .returningAll()
      .execute();
    await append(tx, sessionId, [
      ...before.map((row) => ({
        type: "sandbox.lost" as const,
        sandboxId: row.id as SandboxId,
        provider: row.provider,
        generation: row.generation,
        message: wanted.lost ?? "the sandbox is gone",
      })),
      { type: "sandbox.starting", sandboxId, provider, generation },
    ]);
  });
  return { sandboxId, provider, generation, host, state: "starting" };
}

/** Moves a sandbox on and says so, once. */
export async function moveSandbox(
  database: Database,
  sessionId: SessionId,
  move: {
    readonly record: SandboxRecord;
    readonly from: readonly SandboxRecord["state"][];
    readonly to: "ready" | "stopped";
  },
): Promise<void> {
  const { sandboxId, provider, generation } = move.record;
  await database.write(async (tx) => {
    const moved = await tx
      .updateTable("sandboxes")
      .set({ state: move.to, changed_at: Date.now() })
      .where("session_id", "=", sessionId)
      .where("generation", "=", generation)
      .where("state", "in", [...move.from])
      .returning("id")
      .executeTakeFirst();
    if (moved) await append(tx, sessionId, [{ type: `sandbox.${move.to}`, sandboxId, provider, generation }]);
  });
}
