/** Whether a JSON schema of a stranger can be used where an object is wanted. */
import { createSchemaCompiler, type SchemaCompiler, SchemaError } from "../schemas/bounded.ts";

export type SchemaCheck = (schema: Readonly<Record<string, unknown>>) => string | undefined;

/** Makes a check that says what is wrong with a schema, or undefined when nothing is. The top must be able to be an object. */
export function createSchemaCheck(compiler: SchemaCompiler = createSchemaCompiler()): SchemaCheck {
  return (schema) => {
    const { type } = schema;
    if (type !== undefined && type !== "object") {
      return `expected a JSON schema with "type": "object" at its top; found ${JSON.stringify(type)?.slice(0, 100)}`;
    }
    try {
      compiler.compile(schema);
      return undefined;
    } catch (error) {
      if (!(error instanceof SchemaError)) throw error;
      return `expected a JSON schema; this one cannot be used: ${error.message}`;
    }
  };
}

/** The process's own, which loads its compiler once. */
export const schemaFault: SchemaCheck = createSchemaCheck();
