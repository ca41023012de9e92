/** Work that waits for a worker which has what it needs: since when, for how long yet, told in the log once. */
import type { Fact } from "../contract/events.ts";
import type { CallId, SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { StepRequest } from "../contract/steps.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import { beginTurn } from "./turns.ts";

export interface WorkToWait {
  readonly sessionId: SessionId;
  /** One piece of work: a step, a call, a command. */
  readonly name: string;
  /** What the log is told when the waiting begins. */
  readonly fact?: (deadline: number) => Fact;
}

/** Notes another look for a worker, in vain. The answer is whether there is time for one more. */
export async function waitForWorker(tx: Tx, { sessionId, name, fact }: WorkToWait): Promise<boolean> {
  const now = Date.now();
  const before = await tx.selectFrom("work_waits").selectAll().where("name", "=", name).executeTakeFirst();
  // A wait that ended long ago, because a worker was there meanwhile, is none any more.
  const goesOn = before !== undefined && now - before.looked_at < LIMITS.workerWaitForgottenMs;
  const since = goesOn ? before.since : now;
  const deadline = since + LIMITS.workerWaitMs;
  await tx
    .insertInto("work_waits")
    .values({ name, session_id: sessionId, since, looked_at: now })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ since, looked_at: now }))
    .execute();
  if (!goesOn && fact) await append(tx, sessionId, [fact(deadline)]);
  return now < deadline;
}

/** A step that waits: its turn has begun, and the step has not. Not so for one that is committed, or whose turn is over. */
export async function waitForStep(database: Database, key: StepRequest, missing: readonly string[]): Promise<boolean> {
  const { sessionId, turnId, step } = key;
  return await database.write(async (tx) => {
    const row = await tx
      .selectFrom("steps")
      .select("state")
      .where("turn_id", "=", turnId)
      .where("step", "=", step)
      .executeTakeFirst();
    if (row?.state === "done") return false;
    const begun = step === 1 ? await beginTurn(tx, key) : [];
    if (begun === "removed") return false;
    await append(tx, sessionId, begun);
    const turn = await tx.selectFrom("turns").select("state").where("id", "=", turnId).executeTakeFirst();
    if (turn?.state !== "running") return false;
    return await waitForWorker(tx, {
      sessionId,
      name: `${turnId} ${step}`,
      fact: (deadline) => ({ type: "step.waiting", turnId, step, missing: [...missing], deadline }),
    });
  });
}

/** A call that may still be run, with its tool; undefined for one that has ended, or that a person decides on. */
export async function callToPlace(
  from: Database["read"],
  callId: CallId,
): Promise<{ readonly name: string; readonly turnId: TurnId; readonly step: number } | undefined> {
  const row = await from
    .selectFrom("tool_calls")
    .select(["name", "turn_id", "step", "state", "outcome"])
    .where("id", "=", callId)
    .executeTakeFirst();
  if (!row || row.outcome !== null || row.state === "waiting") return undefined;
  return { name: row.name, turnId: row.turn_id as TurnId, step: row.step };
}
