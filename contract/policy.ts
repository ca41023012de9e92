/** A policy: which tool calls run by themselves, which ask a person first, which never run. A session pins it with its agent. */
import { z } from "zod";
import { LIMITS } from "./limits.ts";

export const PolicyAction = z.enum(["allow", "ask", "deny"]).meta({ id: "PolicyAction" });
export type PolicyAction = z.infer<typeof PolicyAction>;

const Pattern = z.string().min(1).max(LIMITS.patternCharactersMax);

/**
 * Patterns by argument name; all of them must match. What a pattern means follows from the argument: of a command it is
 * matched against each command of the line (`git *`), of a path it is a glob below the workspace (`src/**`), of anything
 * else `*` stands for any text.
 */
export const ArgumentPatterns = z
  .record(z.string().min(1).max(100), Pattern)
  .refine(
    (patterns) => Object.keys(patterns).length > 0 && Object.keys(patterns).length <= LIMITS.policyArgumentsMax,
    `expected 1 to ${LIMITS.policyArgumentsMax} arguments`,
  )
  .meta({ id: "ArgumentPatterns" });
export type ArgumentPatterns = z.infer<typeof ArgumentPatterns>;

export const PolicyRule = z
  .strictObject({
    tool: Pattern.meta({ description: "A tool's name; `*` stands for any text: `read_*`, `*`." }),
    arguments: ArgumentPatterns.optional(),
    action: PolicyAction,
    reason: z.string().min(1).max(LIMITS.reasonCharactersMax).optional().meta({
      description: "Why; shown to who decides, and told to the model when the action is deny.",
    }),
  })
  .meta({ id: "PolicyRule" });
export type PolicyRule = z.infer<typeof PolicyRule>;

export const Policy = z
  .strictObject({
    default: PolicyAction.optional().meta({
      description: "For calls that no rule matches. Left out: tools that change the world ask, the others are allowed.",
    }),
    rules: z.array(PolicyRule).max(LIMITS.policyRulesMax).default([]).meta({ description: "The first match wins." }),
  })
  .meta({ id: "Policy" });
export type Policy = z.infer<typeof Policy>;
