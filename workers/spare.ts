/**
 * A spare worker: its program is loaded, which takes most of a start, and it waits for the worker in service to die. It opens
 * nothing before it is told to begin, so it may be killed at any time.
 */
import { loadSdk } from "../backends/openai/sdk.ts";
import { SPARE_BEGINS } from "../contract/config.ts";
import { workflowBundle } from "./bundle.ts";

/** Resolves when the supervisor tells it to begin. Without its supervisor it ends: nobody would ever tell it. */
export async function untilNeeded(): Promise<void> {
  const needed = new Promise<void>((resolve) => {
    const onMessage = (message: unknown): void => {
      if (!isBegin(message)) return;
      process.off("message", onMessage).off("disconnect", leave);
      resolve();
    };
    process.on("message", onMessage).on("disconnect", leave);
    if (!process.connected) leave();
  });
  // Loaded by now, so that nothing of it is on the way of the worker in service. A fault shows again when it is needed.
  await Promise.race([needed, Promise.allSettled([workflowBundle(), loadSdk()])]);
  await needed;
}

function leave(): void {
  process.exit(0);
}

function isBegin(message: unknown): boolean {
  return typeof message === "object" && message !== null && "type" in message && message.type === SPARE_BEGINS.type;
}
