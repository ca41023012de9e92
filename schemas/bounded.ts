/** JSON schemas of strangers: compiled and checked with, within a bound of size and time. */
import { createRequire } from "node:module";
import { createContext, Script } from "node:vm";
import type { Ajv2020, ValidateFunction } from "ajv/dist/2020.js";
import { LIMITS } from "../contract/limits.ts";

/** The `$id` of a schema that has none: without one, ajv finds no `"$ref": "#"`, as a tree has. */
const NAMELESS = "schema://stranger";

/** A schema that can be checked with. Its `errors` are those of the newest check. */
export type CompiledSchema = ValidateFunction;

/** A schema cannot be used, or a check with it took too long. The message is a part of a sentence: `it takes …`. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}

export interface SchemaCompiler {
  /** Throws SchemaError. */
  compile(schema: Readonly<Record<string, unknown>>): CompiledSchema;
}

export interface CompilerOptions {
  /** Whether a check writes the schema's defaults into what is checked. */
  readonly useDefaults?: boolean;
}

/** Makes a compiler, which loads what it needs when it is first used: that takes 100 ms. */
export function createSchemaCompiler(options: CompilerOptions = {}): SchemaCompiler {
  let ajv: Ajv2020 | undefined;
  return {
    compile: (schema) => {
      ajv ??= newAjv(options);
      return compile(ajv, schema);
    },
  };
}

/** Whether the value fits. Throws SchemaError when that cannot be told in time. */
export function fits(compiled: CompiledSchema, value: unknown): boolean {
  return withinTime(() => compiled(value));
}

function newAjv({ useDefaults = false }: CompilerOptions): Ajv2020 {
  const require = createRequire(import.meta.url);
  const module = require("ajv/dist/2020.js") as typeof import("ajv/dist/2020.js");
  return new module.Ajv2020({
    strict: false, // A keyword that we do not know is a note, not an error.
    useDefaults,
    allErrors: true, // Who made the mistakes mends all of them at once.
    validateFormats: false,
    addUsedSchema: false, // Two schemas may have the same $id.
    logger: false,
  });
}

function compile(ajv: Ajv2020, schema: Readonly<Record<string, unknown>>): CompiledSchema {
  const source = JSON.stringify(schema);
  const bytes = Buffer.byteLength(source);
  if (bytes > LIMITS.outputSchemaBytesMax) {
    throw new SchemaError(`it has ${bytes} bytes, of at most ${LIMITS.outputSchemaBytesMax}`);
  }
  // A copy, so that what is compiled stays as it was. Generators still name older dialects; what is used of them means
  // the same in this one.
  const { $schema: _dialect, ...given } = JSON.parse(source) as Record<string, unknown>;
  const copy: Record<string, unknown> = { $id: NAMELESS, ...given };
  try {
    return withinTime(() => ajv.compile(copy));
  } finally {
    // With its $id, what else is known by that name would go too: the dialect itself, and no schema would compile again.
    delete copy["$id"];
    ajv.removeSchema(copy);
  }
}

/**
 * Runs ours under a watchdog that can stop it in mid-expression: a pattern in the schema may need years for the right
 * answer, and would hold up everything else of this process.
 */
export function withinTime<T>(work: () => T): T {
  const result: { value?: T } = {};
  const run = (): void => {
    result.value = work();
  };
  try {
    new Script("run()").runInContext(createContext({ run }), { timeout: LIMITS.outputSchemaTimeoutMs });
  } catch (error) {
    throw new SchemaError(words(error), { cause: error });
  }
  return result.value as T;
}

function words(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return `it takes more than ${LIMITS.outputSchemaTimeoutMs} ms`;
  return String(message ?? error).slice(0, LIMITS.providerWordsMax);
}
