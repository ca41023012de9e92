/** A terminal over WebSocket: how it is asked for, and the messages that go both ways. Bytes go as binary frames, all else as JSON texts. */
import { z } from "zod";
import { SessionId, TerminalId } from "./ids.ts";
import { LIMITS } from "./limits.ts";

const Columns = z.number().int().min(1).max(LIMITS.terminalColumnsMax);
const Rows = z.number().int().min(1).max(LIMITS.terminalRowsMax);

/** What a watcher sends besides binary frames, which are what is typed. */
export const TerminalRequest = z.discriminatedUnion("type", [
  z
    .strictObject({ type: z.literal("input"), data: z.string().max(LIMITS.terminalMessageBytesMax) })
    .meta({ description: "What is typed, as text; only the writer's is taken." }),
  z
    .strictObject({ type: z.literal("resize"), columns: Columns, rows: Rows })
    .meta({ description: "The size of the screen; only the writer's counts." }),
  z.strictObject({ type: z.literal("take") }).meta({ description: "Become the writer, whoever it was before." }),
]);
export type TerminalRequest = z.infer<typeof TerminalRequest>;

/** What a watcher is sent besides binary frames, which are what the terminal prints. */
export const TerminalNotice = z.discriminatedUnion("type", [
  z
    .object({ type: z.literal("opened"), terminalId: TerminalId, columns: Columns, rows: Rows })
    .meta({ description: "The first message. What was printed before, as far as it is kept, comes right after it." }),
  z.object({ type: z.literal("writer"), you: z.boolean() }).meta({ description: "Whether what you type is taken." }),
  z.object({ type: z.literal("resized"), columns: Columns, rows: Rows }),
  z
    .object({ type: z.literal("skipped") })
    .meta({ description: "You were too slow: something that was printed here is kept no longer." }),
  z
    .object({ type: z.literal("refused"), message: z.string() })
    .meta({ description: "Your last message changed nothing, and why." }),
  z.object({ type: z.literal("closed"), reason: z.string() }).meta({ description: "The last message." }),
]);
export type TerminalNotice = z.infer<typeof TerminalNotice>;

const integer = (max: number) =>
  z
    .string()
    .regex(/^\d{1,4}$/, `expected a number from 1 to ${max}`)
    .transform(Number)
    .refine((value) => value >= 1 && value <= max, `expected a number from 1 to ${max}`);

/** The query of `GET …/terminal`. */
export const TerminalQuery = z.strictObject({
  columns: integer(LIMITS.terminalColumnsMax).optional().meta({ description: "Of a new terminal. Default 80." }),
  rows: integer(LIMITS.terminalRowsMax).optional().meta({ description: "Of a new terminal. Default 24." }),
  terminal: TerminalId.optional().meta({ description: "An open one, from `terminal.opened`. Default: a new one." }),
  watch: z
    .enum(["true", "false"])
    .optional()
    .meta({ description: "`true`: only to look. Without `terminal`: at the newest one that is open." }),
});
export type TerminalQuery = z.infer<typeof TerminalQuery>;

/** The input of the workflow that has a terminal served. */
export const TerminalKey = z.object({ sessionId: SessionId, terminalId: TerminalId });
export type TerminalKey = z.infer<typeof TerminalKey>;
