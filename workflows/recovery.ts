/** A session that begins from what the store says is going on: a run whose history is lost, or one that is newer than the store. */
import {
  ActivityFailure,
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  sleep,
} from "@temporalio/workflow";
import type { TurnId } from "../contract/ids.ts";
import type { Recovered } from "../contract/steps.ts";
import { commit } from "./proxies.ts";
import type { SandboxCare } from "./sandbox-care.ts";
import type { SessionRun } from "./session-run.ts";
import type { SessionState, StopReason, TurnState } from "./session-state.ts";

/** Pauses before it begins anew once more: the store and it should agree after the first time. */
const ANEW_PAUSE_MS = { first: 1_000, max: 60_000 };

/** Of a turn's time: what it was about to commit when everything stopped, it may. */
const LEFT_MS_MIN = 1_000;

/** What the store says is going on; null when there is no such session any more, or it is closed. */
export function recover(run: SessionRun): Promise<Recovered | null> {
  return commit(run, "recoverSession", { summary: "what is going on", of: { sessionId: run.sessionId } });
}

/** The store knows nothing of what this run would go on from: what it does know is what there is. */
export async function beginAnew(run: SessionRun, sandbox: SandboxCare): Promise<never> {
  const { anew = 0, carried: _, ...input } = run;
  await CancellationScope.nonCancellable(async () => {
    await sandbox.readyOrLate();
    if (anew > 0) await sleep(Math.min(ANEW_PAUSE_MS.first * 2 ** (anew - 1), ANEW_PAUSE_MS.max));
    await condition(allHandlersFinished);
  });
  return await continueAsNew<(next: SessionRun) => Promise<void>>({ ...input, recovers: true, anew: anew + 1 });
}

/** Stops that come before it is known what runs. */
export class EarlyStops {
  #noted: { readonly reason: StopReason; readonly turnId: TurnId | undefined }[] | undefined = [];

  note(reason: StopReason, turnId?: TurnId): void {
    this.#noted?.push({ reason, turnId });
  }

  /** Those that were meant for the turn that turns out to run; from now on none is early. */
  meant(running: TurnId | undefined): readonly StopReason[] {
    const meant = (this.#noted ?? []).filter(({ turnId }) => turnId === undefined || turnId === running);
    this.#noted = undefined;
    return meant.map(({ reason }) => reason);
  }
}

/** The session's state by the rows. `told` is what came while they were read: it may not be in them yet. */
export function restored(recovered: Recovered, told: SessionState, clock: { readonly now: number }): SessionState {
  const { queue, closing, turns, usage, hasSandbox, configured } = recovered;
  const turn = recovered.turn && restoredTurn(recovered, clock.now);
  const known = new Set(
    [...queue, ...(turn ? [turn] : []), ...(turn?.steering ?? [])].map(({ messageId }) => messageId),
  );
  const isClosing = closing || told.closing;
  return {
    ...told,
    queue: [...queue, ...told.queue.filter(({ messageId }) => !known.has(messageId))],
    turn: turn ? { ...turn, ...(isClosing && { stop: "closed" as const }) } : null,
    closing: isClosing,
    turns,
    usage,
    hasSandbox,
    configuration: configured.configuration,
  };
}

/** It has what is left of its time: while it stood still, none was spent. */
function restoredTurn({ turn, configured }: Recovered, now: number): TurnState | undefined {
  if (!turn) return undefined;
  const { steering, stop, spentMs, ...rest } = turn;
  return {
    ...rest,
    deadline: now + Math.max(LEFT_MS_MIN, configured.agent.limits.turnTimeoutMs - spentMs),
    ...(steering && { steering }),
    ...(stop && { stop: stop satisfies StopReason }),
  };
}

/** Whether an activity has failed because the store knows nothing of what it was to go on from, or that it is over. */
export function isOvertaken(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.type === "Superseded";
}
