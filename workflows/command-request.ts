/** A caller's command: a short workflow of its own. What is asked for is a row; only its id is here. */
import { ApplicationFailure, CancellationScope, isCancellation } from "@temporalio/workflow";
import type { CommandKey } from "../contract/workspace.ts";
import { atSandbox } from "./at-sandbox.ts";

export async function commandRequest(key: CommandKey): Promise<void> {
  try {
    await run(key);
  } catch (error) {
    if (isSuperseded(error)) return; // It has ended meanwhile, such as with its session.
    if (!isCancellation(error)) throw error;
    // A cancel may come before any worker has begun; the row must hear of its end all the same.
    await CancellationScope.nonCancellable(() => run({ ...key, stop: true }));
  }
}

function run(key: CommandKey): Promise<void> {
  return atSandbox((activities) => activities.runCallerCommand.executeWithOptions({ summary: key.callId }, [key]));
}

function isSuperseded(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.type === "Superseded";
}
