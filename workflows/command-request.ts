/** A caller's command: a short workflow of its own. What is asked for is a row; only its id is here. */
import { ApplicationFailure, CancellationScope, isCancellation, log } from "@temporalio/workflow";
import type { CommandKey } from "../contract/workspace.ts";
import { atSandbox } from "./at-sandbox.ts";
import { beside } from "./proxies.ts";

export async function commandRequest(key: CommandKey): Promise<void> {
  await settle(key);
  // The caller has been answered by now. What the command has changed outlives its sandbox.
  const kept = { summary: "snapshot the workspace" };
  const { sessionId, ticket } = key;
  await CancellationScope.nonCancellable(() =>
    atSandbox((activities) =>
      activities.snapshotWorkspace.executeWithOptions(kept, [{ sessionId, ...(ticket !== undefined && { ticket }) }]),
    ),
  ).catch((error: unknown) => log.warn("the workspace was not kept", { error: String(error) }));
}

async function settle(key: CommandKey): Promise<void> {
  try {
    await run(key);
  } catch (error) {
    // A cancel may come before any worker has begun; the row must hear of its end all the same.
    await CancellationScope.nonCancellable(() => end(key, error));
  }
}

async function end(key: CommandKey, error: unknown): Promise<void> {
  if (isSuperseded(error)) return; // It has ended meanwhile, such as with its session.
  if (!isCancellation(error) || key.stop) {
    await beside.giveUpCommand.executeWithOptions({ summary: key.callId }, [key]);
    return;
  }
  const stop = { ...key, stop: true };
  await run(stop).catch((again: unknown) => end(stop, again));
}

function run(key: CommandKey): Promise<void> {
  return atSandbox((activities) => activities.runCallerCommand.executeWithOptions({ summary: key.callId }, [key]), {
    isPatient: true,
  });
}

function isSuperseded(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.type === "Superseded";
}
