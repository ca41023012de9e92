/** The tool `ask_user`: a question to a person. It is never run: the turn waits, and the person's answer is its result. */
import { z } from "zod";
import { LIMITS } from "../contract/limits.ts";
import type { Tool } from "./tool.ts";

const Parameters = z
  .strictObject({
    question: z.string().min(1).max(LIMITS.questionCharactersMax).describe("What you want to know, as one question."),
    // Models that fill in every field give an empty list for "none".
    choices: z
      .array(z.string().min(1).max(1_000))
      .max(LIMITS.choicesMax)
      .optional()
      .describe("Answers to choose from."),
    allowFreeform: z
      .boolean()
      .default(true)
      .describe("Whether another answer than a choice may be given. Default true."),
  })
  .refine((args) => args.allowFreeform || (args.choices ?? []).length > 0, {
    path: ["choices"],
    message: "expected choices, because allowFreeform is false",
  });

export const askUser: Tool<typeof Parameters> = {
  name: "ask_user",
  description:
    "Asks the person you work for, and waits for the answer, which may take long. Ask only what you cannot find out yourself.",
  parameters: Parameters,
  replay: "safe",
  quick: false,
  changesFiles: false,
  changesWorld: false,
  answeredBy: "person",
  summary: ({ question }) => `ask_user: ${question}`,
  run: () => Promise.reject(new Error("ask_user was run; a person answers it")),
};
