/** Whether a JSON schema of a stranger can be used. Bounded in size and time: compiling one can take as long as it likes. */
import { createRequire } from "node:module";
import { createContext, Script } from "node:vm";
import type { Ajv2020 } from "ajv/dist/2020.js";
import { LIMITS } from "../contract/limits.ts";

export type SchemaCheck = (schema: Readonly<Record<string, unknown>>) => string | undefined;

/** Makes a check that says what is wrong with a schema, or undefined when nothing is. The top must be able to be an object. */
export function createSchemaCheck(): SchemaCheck {
  let ajv: Ajv2020 | undefined;
  return (schema) => {
    const { type } = schema;
    if (type !== undefined && type !== "object") {
      return `expected a JSON schema with "type": "object" at its top; found ${JSON.stringify(type)?.slice(0, 100)}`;
    }
    const source = JSON.stringify(schema);
    if (Buffer.byteLength(source) > LIMITS.outputSchemaBytesMax) {
      return `expected a JSON schema of at most ${LIMITS.outputSchemaBytesMax} bytes`;
    }
    ajv ??= newAjv();
    return compile(ajv, source);
  };
}

/** The process's own, which loads its compiler once. */
export const schemaFault: SchemaCheck = createSchemaCheck();

function newAjv(): Ajv2020 {
  // Loaded at the first use: it takes 100 ms, and most agents have no schema.
  const require = createRequire(import.meta.url);
  const module = require("ajv/dist/2020.js") as typeof import("ajv/dist/2020.js");
  return new module.Ajv2020({ strict: false, validateFormats: false, addUsedSchema: false, logger: false });
}

function compile(ajv: Ajv2020, source: string): string | undefined {
  const schema = JSON.parse(source) as Record<string, unknown>;
  // Generators still name older dialects; what is used of them means the same in this one.
  delete schema["$schema"];
  const run = (): void => {
    ajv.compile(schema);
  };
  try {
    new Script("run()").runInContext(createContext({ run }), { timeout: LIMITS.outputSchemaTimeoutMs });
    return undefined;
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return "expected a JSON schema that compiles within a second";
    return `expected a JSON schema; this one cannot be used: ${String(message ?? error).slice(0, 400)}`;
  } finally {
    ajv.removeSchema(schema);
  }
}
