/** Checks an agent's answer against its outputSchema, which is a stranger's: `threads/schemas.ts` runs it on a thread. */
import type { ErrorObject } from "ajv/dist/2020.js";
import { jsonFault } from "../contract/bounded-json.ts";
import { cutText } from "../contract/cut-text.ts";
import { LIMITS } from "../contract/limits.ts";
import {
  type CompiledSchema,
  createSchemaCompiler,
  fits,
  type SchemaCompiler,
  SchemaError,
} from "../schemas/bounded.ts";

/** The value that the answer holds, or what is wrong in words that a model can act on. */
export type OutputCheck = { readonly value: unknown } | { readonly errors: string };
export type OutputValidator = (text: string) => OutputCheck;
export type CreateOutputValidator = (schema: Readonly<Record<string, unknown>>, names?: OutputNames) => OutputValidator;

type Compiled = CompiledSchema | { readonly problem: string };

const ERRORS_SHOWN = 10;
const VALUE_SHOWN = 200;

/** What is checked and with what, as the words for a model name them. */
export interface OutputNames {
  readonly value: string;
  readonly schema: string;
}
export const ANSWER: OutputNames = { value: "the answer", schema: "the outputSchema" };

/** Makes validators that remember what they have compiled, by the schema's text. */
export function createOutputValidators(named: OutputNames = ANSWER): CreateOutputValidator {
  const known = new Map<string, Compiled>();
  const compiler = createSchemaCompiler();
  const compiledOf = (source: string): Compiled => {
    const made = known.get(source);
    if (made !== undefined) return made;
    const compiled = compile(compiler, source);
    const oldest = known.keys().next().value;
    if (known.size >= LIMITS.outputSchemasRemembered && oldest !== undefined) known.delete(oldest);
    known.set(source, compiled);
    return compiled;
  };
  return (schema, names = named) => {
    const source = JSON.stringify(schema);
    return (text) => {
      const compiled = compiledOf(source);
      if ("problem" in compiled) return { errors: `${names.schema} cannot be used: ${compiled.problem}` };
      return check(compiled, text, names);
    };
  };
}

/** A validator of one schema. */
export const createOutputValidator: CreateOutputValidator = createOutputValidators();

function compile(compiler: SchemaCompiler, source: string): Compiled {
  try {
    return compiler.compile(JSON.parse(source) as Record<string, unknown>);
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    return { problem: error.message };
  }
}

function check(compiled: CompiledSchema, text: string, names: OutputNames): OutputCheck {
  const parsed = parse(text);
  if ("errors" in parsed) return parsed;
  try {
    if (fits(compiled, parsed.value)) return parsed;
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    return { errors: `${names.value} could not be checked against ${names.schema}: ${error.message}` };
  }
  const errors = compiled.errors ?? [];
  const shown = errors.slice(0, ERRORS_SHOWN).map((one) => describe(one, names));
  const more = errors.length > shown.length ? [`and ${errors.length - shown.length} more`] : [];
  return { errors: [...shown, ...more].join("; ") };
}

function parse(text: string): OutputCheck {
  let first: OutputCheck | undefined;
  for (const json of jsonIn(text)) {
    const parsed = parseJson(json);
    if ("value" in parsed) return parsed;
    first ??= parsed;
  }
  return first ?? parseJson(text);
}

/** Models fence JSON, think before it or speak around it, also when they are asked for JSON alone. */
function jsonIn(text: string): readonly string[] {
  const said = text
    .replace(/^\ufeff/, "")
    .trimStart()
    .replace(/^<think(?:ing)?>[\s\S]*?<\/think(?:ing)?>/i, "")
    .trim();
  const fenced = /```(?:json)?\s*\n([\s\S]*?)\n?\s*```/.exec(said)?.[1];
  const [from, to] = [said.search(/[{[]/), Math.max(said.lastIndexOf("}"), said.lastIndexOf("]"))];
  return [
    said,
    ...(fenced === undefined ? [] : [fenced]),
    ...(from >= 0 && to > from ? [said.slice(from, to + 1)] : []),
  ];
}

function parseJson(text: string): OutputCheck {
  const fault = jsonFault(text);
  if (fault !== undefined) return { errors: fault };
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    return { errors: `expected JSON, found ${JSON.stringify(cutText(text, VALUE_SHOWN))} (${words(error)})` };
  }
}

function describe(error: ErrorObject, names: OutputNames): string {
  const place = error.instancePath === "" ? names.value : error.instancePath;
  const parameters: Record<string, unknown> = error.params;
  const extra = parameters["additionalProperty"] ?? parameters["allowedValues"] ?? parameters["allowedValue"];
  const more = extra === undefined ? "" : `: ${cutText(JSON.stringify(extra), VALUE_SHOWN)}`;
  return `${place} ${error.message ?? "is not valid"}${more}`;
}

function words(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, LIMITS.providerWordsMax);
}
