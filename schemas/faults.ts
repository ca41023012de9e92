/** What is wrong with a stranger's schema, or with arguments by it, in words for whoever sent them. */
import type { ErrorObject } from "ajv/dist/2020.js";
import { LIMITS } from "../contract/limits.ts";
import { type CompiledSchema, createSchemaCompiler, fits, type SchemaCompiler, SchemaError } from "./bounded.ts";

type Schema = Readonly<Record<string, unknown>>;

export interface ArgumentFault {
  /** JSON pointer into the arguments. */
  readonly path: string;
  readonly message: string;
}

/** Loads what it needs when it is first used. */
const compiler = createSchemaCompiler();

/** Of each schema what is wrong with it, or undefined. All of them share the time that one may take. */
export function schemaFaults(
  schemas: readonly Schema[],
  { compile }: SchemaCompiler = compiler,
): readonly (string | undefined)[] {
  compile({}); // Loads the compiler: that is our time, not the schemas'.
  const deadline = performance.now() + LIMITS.outputSchemaTimeoutMs;
  return schemas.map((schema) => {
    if (performance.now() > deadline)
      return "expected schemas that compile in good time; those before it took all of it";
    return schemaFault(schema, { compile });
  });
}

/** The top must be able to be an object. */
export function schemaFault(schema: Schema, { compile }: SchemaCompiler = compiler): string | undefined {
  const { type } = schema;
  if (type !== undefined && type !== "object") {
    return `expected a JSON schema with "type": "object" at its top; found ${JSON.stringify(type)?.slice(0, 100)}`;
  }
  try {
    compile(schema);
    return undefined;
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    return `expected a JSON schema; this one cannot be used: ${error.message}`;
  }
}

/** What is wrong with the arguments; empty when they fit. */
export function argumentFaults(schema: Schema, args: Schema): readonly ArgumentFault[] {
  try {
    const compiled = compiler.compile(schema);
    return fits(compiled, args) ? [] : faultsOf(compiled);
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    return [{ path: "", message: `these cannot be checked against the tool's schema: ${error.message}` }];
  }
}

function faultsOf(compiled: CompiledSchema): readonly ArgumentFault[] {
  const faults = (compiled.errors ?? []).map(faultOf);
  return faults.length > 0 ? faults : [{ path: "", message: "these do not fit the tool's schema" }];
}

function faultOf(error: ErrorObject): ArgumentFault {
  const params: Readonly<Record<string, unknown>> = error.params;
  const missing = params["missingProperty"];
  if (typeof missing === "string") return { path: error.instancePath + pointer(missing), message: "this is required" };
  const extra = params["additionalProperty"] ?? params["unevaluatedProperty"];
  if (typeof extra === "string") {
    return { path: error.instancePath + pointer(extra), message: "the tool does not know this argument" };
  }
  const allowed = params["allowedValues"] ?? params["allowedValue"];
  const more = allowed === undefined ? "" : `: ${JSON.stringify(allowed).slice(0, 200)}`;
  return { path: error.instancePath, message: `${error.message ?? "this is not valid"}${more}` };
}

function pointer(key: string): string {
  return `/${key.slice(0, 200).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
