/** Tokens of model calls. */
import { z } from "zod";

export const Usage = z
  .object({
    inputTokens: z.number().int().nonnegative(),
    outputTokens: z.number().int().nonnegative(),
    cachedTokens: z.number().int().nonnegative().meta({ description: "Of the input, read from the provider's cache." }),
    reasoningTokens: z.number().int().nonnegative().meta({ description: "Of the output, spent on reasoning." }),
  })
  .meta({ id: "Usage" });
export type Usage = z.infer<typeof Usage>;

export const NO_USAGE: Usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 };

export function addUsage(a: Usage, b: Usage): Usage {
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    reasoningTokens: a.reasoningTokens + b.reasoningTokens,
  };
}
