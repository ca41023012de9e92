/**
 * The mark on an embedded Temporal, which is one stack's alone: a worker of another store that was sent there by mistake is
 * refused in words. It would do no harm, its queues are others, but nobody would see why it does nothing.
 */
import type { Connection } from "@temporalio/client";
import { ConfigError } from "../contract/config.ts";
import { STACK_MARK } from "../contract/task-queue.ts";

export interface Joining {
  readonly namespace: string;
  readonly address: string;
  readonly stack: string;
  readonly stateDir: string;
  /** own: the Temporal is this stack's alone. shared: its stack was told to use it. none: the process came by itself. */
  readonly part: "own" | "shared" | "none";
}

/** @throws ConfigError when the Temporal is another stack's. */
export async function joinTemporal({ workflowService }: Connection, joining: Joining): Promise<void> {
  const { namespace, address, stack, stateDir, part } = joining;
  if (part === "shared") return;
  const { namespaceInfo } = await workflowService.describeNamespace({ namespace });
  const mark = namespaceInfo?.data?.[STACK_MARK];
  if (part === "own") {
    if (mark !== stack)
      await workflowService.updateNamespace({ namespace, updateInfo: { data: { [STACK_MARK]: stack } } });
    return;
  }
  if (mark === undefined || mark === stack) return;
  throw new ConfigError(
    `Temporal at ${address} belongs to stack ${mark}, and the store in ${stateDir} is of stack ${stack}: ` +
      "set PERDURE_STATE_DIR to the folder of that stack, or TEMPORAL_ADDRESS to the Temporal of this one",
  );
}
