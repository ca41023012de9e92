/** Blocks: the typed pieces of a message's content, as clients send them, as the model sees them, as events show them. */
import { z } from "zod";
import { CallId } from "./ids.ts";
import { LIMITS } from "./limits.ts";

export const TextBlock = z.strictObject({ type: z.literal("text"), text: z.string() });
export type TextBlock = z.infer<typeof TextBlock>;

/** Where an image's or a file's bytes come from: a link that the provider fetches, or base64 in the message itself. */
const Source = {
  url: z
    .url({ protocol: /^https?$/ })
    .optional()
    .meta({ description: "A link that the model's provider fetches." }),
  data: z.base64().optional().meta({ description: "The bytes, base64." }),
  mediaType: z
    .string()
    .regex(/^[\w.+-]+\/[\w.+-]+$/)
    .optional()
    .meta({ description: "Required with data." }),
};
const hasOneSource = (value: {
  url?: string | undefined;
  data?: string | undefined;
  mediaType?: string | undefined;
}): boolean =>
  (value.url === undefined) !== (value.data === undefined) &&
  (value.data === undefined || value.mediaType !== undefined);
const ONE_SOURCE = "expected either url, or data together with mediaType";

export const ImageBlock = z
  .strictObject({ type: z.literal("image"), ...Source, detail: z.enum(["auto", "low", "high"]).optional() })
  .refine(hasOneSource, ONE_SOURCE);
export type ImageBlock = z.infer<typeof ImageBlock>;

export const FileBlock = z
  .strictObject({ type: z.literal("file"), filename: z.string().min(1).max(255), ...Source })
  .refine(hasOneSource, ONE_SOURCE);
export type FileBlock = z.infer<typeof FileBlock>;

/** What a person may put into a message. */
export const InputBlock = z.discriminatedUnion("type", [TextBlock, ImageBlock, FileBlock]).meta({ id: "InputBlock" });
export type InputBlock = z.infer<typeof InputBlock>;

/** A message's content: text, or blocks. */
export const Content = z
  .union([z.string().min(1), z.array(InputBlock).min(1).max(LIMITS.messageBlocksMax)])
  .meta({ id: "Content" });
export type Content = z.infer<typeof Content>;

/** What the model thought aloud. `opaque` is what its provider wants back verbatim; it is never shown to a client. */
export const ThinkingBlock = z.object({
  type: z.literal("thinking"),
  text: z.string(),
  opaque: z.object({ backend: z.string(), item: z.unknown() }).optional(),
});
export type ThinkingBlock = z.infer<typeof ThinkingBlock>;

/** One request by the model to run a tool. `arguments` is what the model wrote: an object, or its raw text when that is not valid JSON. */
export const ToolCallBlock = z.object({
  type: z.literal("tool_call"),
  callId: CallId,
  name: z.string(),
  arguments: z.union([z.record(z.string(), z.unknown()), z.string()]),
  /** The provider's own id of the call. It gets ids of ours back: its own may come again in each turn, or be refused by the next provider. */
  providerCallId: z.string().optional(),
});
export type ToolCallBlock = z.infer<typeof ToolCallBlock>;

export const ToolOutcome = z.enum(["ok", "error", "denied", "interrupted", "unknown"]);
export type ToolOutcome = z.infer<typeof ToolOutcome>;

/** The answer to one tool call, as the model is shown it. */
export const ToolResultBlock = z.object({
  type: z.literal("tool_result"),
  callId: CallId,
  providerCallId: z.string().optional(),
  name: z.string(),
  outcome: ToolOutcome,
  text: z.string(),
});
export type ToolResultBlock = z.infer<typeof ToolResultBlock>;

/** What an agent's reply is made of. */
export const ReplyBlock = z.discriminatedUnion("type", [TextBlock, ThinkingBlock, ToolCallBlock]);
export type ReplyBlock = z.infer<typeof ReplyBlock>;

export const Block = z
  .discriminatedUnion("type", [TextBlock, ImageBlock, FileBlock, ThinkingBlock, ToolCallBlock, ToolResultBlock])
  .meta({ id: "Block" });
export type Block = z.infer<typeof Block>;

/** One message of the transcript: what the model is shown. */
export const TranscriptMessage = z
  .object({
    role: z.enum(["user", "assistant", "tool"]),
    blocks: z.array(Block),
    interrupted: z.literal(true).optional().meta({ description: "The agent was stopped while it wrote this." }),
  })
  .meta({ id: "TranscriptMessage" });
export type TranscriptMessage = z.infer<typeof TranscriptMessage>;

/** A message's content as blocks. */
export function asBlocks(content: Content): readonly InputBlock[] {
  return typeof content === "string" ? [{ type: "text", text: content }] : content;
}
