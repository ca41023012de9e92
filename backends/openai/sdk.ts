/** The vendor's SDK, loaded late: its import blocks the process for some 300 ms, and a worker that restarts must be up at once. */
import type { OpenAIChatCompletionsModel, OpenAIResponsesModel } from "@openai/agents";
import type OpenAI from "openai";
import { BackendError } from "../backend.ts";

export interface Sdk {
  readonly OpenAI: typeof OpenAI;
  readonly OpenAIResponsesModel: typeof OpenAIResponsesModel;
  readonly OpenAIChatCompletionsModel: typeof OpenAIChatCompletionsModel;
}

/**
 * Loads the classes of `@openai/agents` that speak the two wires, from the part of it that has them: the whole also
 * loads its realtime client, for another 80 ms.
 */
export async function loadSdk(): Promise<Sdk> {
  const release = watchExitListeners();
  try {
    const [{ OpenAI }, { OpenAIResponsesModel, OpenAIChatCompletionsModel }] = await Promise.all([
      import("openai"),
      import("@openai/agents-openai"),
    ]);
    return { OpenAI, OpenAIResponsesModel, OpenAIChatCompletionsModel };
  } catch (cause) {
    throw new BackendError("DEPENDENCY_MISSING", "the package @openai/agents cannot be loaded; run npm ci", { cause });
  } finally {
    release();
  }
}

/**
 * The SDK's tracing, which we do not use, listens to the process's signals from its import on, and calls `process.exit`
 * when it finds its listener alone: in the middle of a worker's drain, whose own listener is gone once it was called.
 * Returns what takes these listeners away again, and only these.
 */
function watchExitListeners(): () => void {
  const events = ["SIGINT", "SIGTERM", "unhandledRejection"] as const;
  const before = new Set(events.flatMap((event) => process.listeners(event as "SIGTERM")));
  return () => {
    for (const event of events) {
      for (const listener of process.listeners(event as "SIGTERM")) {
        const isTracing = /hasOtherListenersFor/.test(listener.toString());
        if (isTracing && !before.has(listener)) process.off(event, listener);
      }
    }
  };
}
