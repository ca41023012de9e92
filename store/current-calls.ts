/** The calls of a committed step as they are now: a workflow that asks for the step again may have missed what became of them. */
import type { CallId } from "../contract/ids.ts";
import type { PlannedCall, StepResult } from "../contract/steps.ts";
import type { WaitKind } from "../contract/waits.ts";
import type { Tx } from "./database.ts";
import { verdictOf } from "./wait-endings.ts";

/** Those that waited and have their result are left out; the others wait for what they wait for now, or may be run. */
export async function withCurrentCalls(tx: Tx, result: StepResult): Promise<StepResult> {
  if (result.next !== "calls") return result;
  const calls: PlannedCall[] = [];
  for (const call of result.calls) {
    const now = call.wait ? await currentCall(tx, call) : call;
    if (now) calls.push(now);
  }
  return { ...result, calls };
}

async function currentCall(tx: Tx, call: PlannedCall): Promise<PlannedCall | undefined> {
  const { wait: _, ...free } = call;
  const made = await tx.selectFrom("tool_calls").select("outcome").where("id", "=", call.callId).executeTakeFirst();
  if (!made || made.outcome !== null) return undefined;
  const waits = await tx
    .selectFrom("waits")
    .selectAll()
    .where("call_id", "=", call.callId as CallId)
    .execute();
  const pending = waits.find(({ state }) => state === "pending");
  if (pending) return { ...free, wait: { kind: pending.kind as WaitKind, deadline: pending.deadline } };
  // Nothing waits any more, and it has no result: it was approved, and no attempt has ended it.
  return waits.some((wait) => verdictOf(wait).next === "run") ? free : undefined;
}
