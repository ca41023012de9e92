/** Workspaces of which no snapshot could be taken: said in the log, once for each turn, and in its sandbox's row. */
import type { SessionId, TurnId } from "../contract/ids.ts";
import type { Database } from "./database.ts";
import { append } from "./event-log.ts";
import type { SandboxRecord } from "./sandboxes.ts";

export type UnkeptReason = "too_large" | "failed";

export interface Unkept {
  readonly sessionId: SessionId;
  readonly turnId?: TurnId | undefined;
  readonly reason: UnkeptReason;
  readonly message: string;
}

/** A repeat changes nothing; nor does another look at a sandbox of which it is known, where no turn has ended. */
export async function noteUnkept(database: Database, record: SandboxRecord, unkept: Unkept): Promise<void> {
  const { sandboxId, provider, generation } = record;
  const { sessionId, turnId, reason, message } = unkept;
  await database.write(async (tx) => {
    const session = await tx.selectFrom("sessions").select("closed_at").where("id", "=", sessionId).executeTakeFirst();
    if (!session || session.closed_at !== null) return; // Nothing follows session.closed in the log.
    const note = turnId ?? reason;
    let update = tx.updateTable("sandboxes").set({ unkept: note }).where("id", "=", sandboxId);
    update = update.where((eb) =>
      turnId === undefined ? eb("unkept", "is", null) : eb.or([eb("unkept", "is", null), eb("unkept", "!=", note)]),
    );
    const { numUpdatedRows } = await update.executeTakeFirst();
    if (numUpdatedRows === 0n) return;
    const fact = { type: "workspace.unkept" as const, sandboxId, provider, generation, reason, message };
    await append(tx, sessionId, [{ ...fact, ...(turnId !== undefined && { turnId }) }]);
  });
}
