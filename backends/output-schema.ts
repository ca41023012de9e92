/** Checks an agent's answer against its outputSchema. Compiling and checking are bounded in time: the schema is a stranger's. */
import { createRequire } from "node:module";
import { createContext, Script } from "node:vm";
import type { Ajv2020, ErrorObject, ValidateFunction } from "ajv/dist/2020.js";
import { LIMITS } from "../contract/limits.ts";

/** The value that the answer holds, or what is wrong in words that a model can act on. */
export type OutputCheck = { readonly value: unknown } | { readonly errors: string };
export type OutputValidator = (text: string) => OutputCheck;
export type CreateOutputValidator = (schema: Readonly<Record<string, unknown>>) => OutputValidator;

type Compiled = ValidateFunction | { readonly problem: string };

const ERRORS_SHOWN = 10;
const VALUE_SHOWN = 200;

/** Makes validators that remember what they have compiled, by the schema's text. */
export function createOutputValidators(): CreateOutputValidator {
  const known = new Map<string, Compiled>();
  let ajv: Ajv2020 | undefined;
  const compiledOf = (source: string): Compiled => {
    const made = known.get(source);
    if (made !== undefined) return made;
    ajv ??= newAjv();
    const compiled = compile(ajv, source);
    const oldest = known.keys().next().value;
    if (known.size >= LIMITS.outputSchemasRemembered && oldest !== undefined) known.delete(oldest);
    known.set(source, compiled);
    return compiled;
  };
  return (schema) => {
    const source = JSON.stringify(schema);
    return (text) => {
      const compiled = compiledOf(source);
      if ("problem" in compiled) return { errors: `the outputSchema cannot be used: ${compiled.problem}` };
      return check(compiled, text);
    };
  };
}

/** A validator of one schema. */
export const createOutputValidator: CreateOutputValidator = createOutputValidators();

function newAjv(): Ajv2020 {
  // Loaded at the first use: it takes 100 ms, and most agents have no schema.
  const require = createRequire(import.meta.url);
  const module = require("ajv/dist/2020.js") as typeof import("ajv/dist/2020.js");
  return new module.Ajv2020({
    strict: false, // A keyword that we do not know is a note, not an error.
    allErrors: true, // The model repairs everything in its one second try.
    validateFormats: false,
    addUsedSchema: false, // Two schemas may have the same $id.
    logger: false,
  });
}

function compile(ajv: Ajv2020, source: string): Compiled {
  if (source.length > LIMITS.outputSchemaBytesMax) {
    return { problem: `it is longer than ${LIMITS.outputSchemaBytesMax} characters` };
  }
  const schema = JSON.parse(source) as Record<string, unknown>;
  // Generators still name older dialects; what agents use of them means the same in this one.
  delete schema["$schema"];
  try {
    return withinTime(() => ajv.compile(schema));
  } catch (error) {
    return { problem: words(error) };
  } finally {
    ajv.removeSchema(schema);
  }
}

function check(validate: ValidateFunction, text: string): OutputCheck {
  const parsed = parse(text);
  if ("errors" in parsed) return parsed;
  try {
    if (withinTime(() => validate(parsed.value))) return parsed;
  } catch (error) {
    return { errors: `the answer could not be checked against the outputSchema: ${words(error)}` };
  }
  const errors = validate.errors ?? [];
  const shown = errors.slice(0, ERRORS_SHOWN).map(describe);
  const more = errors.length > shown.length ? [`and ${errors.length - shown.length} more`] : [];
  return { errors: [...shown, ...more].join("; ") };
}

function parse(text: string): OutputCheck {
  // Models like to fence JSON, also when they are asked for JSON alone.
  const fenced = /^\s*```(?:json)?\s*\n([\s\S]*?)\n?\s*```\s*$/.exec(text)?.[1];
  try {
    return { value: JSON.parse(fenced ?? text) as unknown };
  } catch (error) {
    return { errors: `expected JSON, found ${JSON.stringify(text.slice(0, VALUE_SHOWN))} (${words(error)})` };
  }
}

function describe(error: ErrorObject): string {
  const place = error.instancePath === "" ? "the answer" : error.instancePath;
  const parameters: Record<string, unknown> = error.params;
  const extra = parameters["additionalProperty"] ?? parameters["allowedValues"] ?? parameters["allowedValue"];
  const more = extra === undefined ? "" : `: ${JSON.stringify(extra).slice(0, VALUE_SHOWN)}`;
  return `${place} ${error.message ?? "is not valid"}${more}`;
}

/**
 * Runs ours under a watchdog that can stop it in mid-expression: a pattern in the schema may need years for the right
 * answer, and would hold up every session of this worker.
 */
function withinTime<T>(work: () => T): T {
  const result: { value?: T } = {};
  const run = (): void => {
    result.value = work();
  };
  new Script("run()").runInContext(createContext({ run }), { timeout: LIMITS.outputSchemaTimeoutMs });
  return result.value as T;
}

function words(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return `it takes more than ${LIMITS.outputSchemaTimeoutMs} ms`;
  return String(message ?? error).slice(0, LIMITS.providerWordsMax);
}
