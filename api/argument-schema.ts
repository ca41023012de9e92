/** Whether edited arguments fit their tool's JSON schema, which may be a stranger's. */
import type { ErrorObject } from "ajv/dist/2020.js";
import { type CompiledSchema, createSchemaCompiler, fits, SchemaError } from "../schemas/bounded.ts";

const compiler = createSchemaCompiler();

export interface ArgumentFault {
  /** JSON pointer into the arguments. */
  readonly path: string;
  readonly message: string;
}

/** What is wrong with the arguments; empty when they fit. */
export function argumentFaults(
  schema: Readonly<Record<string, unknown>>,
  args: Readonly<Record<string, unknown>>,
): readonly ArgumentFault[] {
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
