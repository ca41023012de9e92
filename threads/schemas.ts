/** Strangers' schemas within a bound: compiled and checked with on a thread that is ended at its deadline. */
import { ANSWER, type OutputCheck, type OutputNames } from "../backends/output-schema.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CheckedArguments } from "../schemas/arguments.ts";
import type { ArgumentFault } from "../schemas/faults.ts";
import { answerOf } from "./process-pool.ts";

type Schema = Readonly<Record<string, unknown>>;

const TOO_LONG = `takes more than ${LIMITS.threadTaskMs} ms`;

/** Of each schema what is wrong with it, or undefined. All of one request share one deadline. */
export async function faultsOfSchemas(schemas: readonly Schema[]): Promise<readonly (string | undefined)[]> {
  if (schemas.length === 0) return [];
  const outcome = await answerOf({ type: "schema_faults", schemas }, "schemas");
  if (outcome.ended === "done") return outcome.answer;
  return schemas.map(() => `expected a JSON schema; this one cannot be used: ${why(outcome.ended)}`);
}

/** The arguments with the schema's defaults, or what is wrong with them. @param key Whose call it is. */
export async function argumentsBySchema(schema: Schema, args: Schema, key: string): Promise<CheckedArguments> {
  const outcome = await answerOf({ type: "arguments", schema, args }, key);
  if (outcome.ended === "done") return outcome.answer;
  return { issues: [{ path: [], message: `they could not be checked: ${why(outcome.ended)}` }] };
}

/** What is wrong with the arguments; empty when they fit. */
export async function faultsOfArguments(schema: Schema, args: Schema): Promise<readonly ArgumentFault[]> {
  const outcome = await answerOf({ type: "argument_faults", schema, args }, "arguments");
  if (outcome.ended === "done") return outcome.answer;
  return [{ path: "", message: `these cannot be checked against the tool's schema: ${why(outcome.ended)}` }];
}

/** @param key Whose answer it is. */
export async function checkOutput(
  schema: Schema,
  text: string,
  { names = ANSWER, key }: { readonly names?: OutputNames; readonly key: string },
): Promise<OutputCheck> {
  const outcome = await answerOf({ type: "output", schema, text, names }, key);
  if (outcome.ended === "done") return outcome.answer;
  return { errors: `${names.value} could not be checked against ${names.schema}: ${why(outcome.ended)}` };
}

function why(ended: "too_long" | "too_many" | "failed"): string {
  switch (ended) {
    case "too_long":
      return `it ${TOO_LONG}`;
    case "too_many":
      return "too many others wait; try again";
    case "failed":
      return "it needs too much memory, or ends its checker";
  }
}
