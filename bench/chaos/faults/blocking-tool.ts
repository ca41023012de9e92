/** A custom tool as a careless author writes it: it keeps the worker's event loop, and with it every heartbeat. */
import { z } from "zod";
import { definePlugin, defineTool } from "../../../tools/plugin.ts";

export const BLOCKING_TOOL = "keep_the_loop";

export const blocking = definePlugin({
  name: "blocking",
  tools: [
    defineTool({
      name: BLOCKING_TOOL,
      description: "Keeps the event loop for so many milliseconds.",
      parameters: z.object({ ms: z.number() }),
      replay: "safe",
      execute: ({ ms }) => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
        return { ms };
      },
    }),
  ],
});
