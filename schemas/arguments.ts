/** Arguments of a call by the JSON schema of a tool that somebody else wrote: with its defaults, or what is wrong with them. */
import type { ErrorObject } from "ajv/dist/2020.js";
import { createSchemaCompiler, fits, SchemaError } from "./bounded.ts";

type Schema = Readonly<Record<string, unknown>>;

export interface ArgumentIssue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

export type CheckedArguments = { readonly value: unknown } | { readonly issues: readonly ArgumentIssue[] };

/** What may make a check cost any time: patterns, references in circles, alternatives of alternatives, all pairs of a list. */
const HARD =
  /"(?:pattern|patternProperties|\$ref|\$dynamicRef|anyOf|oneOf|allOf|not|if|uniqueItems|unevaluated\w+)"\s*:/;

/** Whether a check with it belongs on a thread. One that does not costs about as much as the arguments are long. */
export function isHardSchema(schema: Schema): boolean {
  return HARD.test(JSON.stringify(schema));
}

/** Compiled once. Throws SchemaError. */
export function argumentCheck(schema: Schema): (raw: unknown) => CheckedArguments {
  const compiled = createSchemaCompiler({ useDefaults: true }).compile(schema);
  return (raw) => {
    const value = structuredClone(raw); // Defaults are written into it.
    return fits(compiled, value) ? { value } : { issues: (compiled.errors ?? []).map(issueOf) };
  };
}

/** For a thread: never throws. */
export function checkedArguments(schema: Schema, raw: unknown): CheckedArguments {
  try {
    return argumentCheck(schema)(raw);
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    return { issues: [{ path: [], message: `they could not be checked: ${error.message}` }] };
  }
}

function issueOf(error: ErrorObject): ArgumentIssue {
  const path = error.instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  const parameters: Readonly<Record<string, unknown>> = error.params;
  const detail = parameters["additionalProperty"] ?? parameters["allowedValues"] ?? parameters["allowedValue"];
  const more = detail === undefined ? "" : `: ${JSON.stringify(detail)}`;
  return { path, message: `${error.message ?? "is not valid"}${more}` };
}
