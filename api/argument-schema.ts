/** Whether edited arguments fit their tool's JSON schema. Bounded in time: the schema may be a stranger's. */
import { createRequire } from "node:module";
import { createContext, Script } from "node:vm";
import type { ErrorObject, Options, ValidateFunction } from "ajv/dist/2020.js";
import { LIMITS } from "../contract/limits.ts";

export interface ArgumentFault {
  /** JSON pointer into the arguments. */
  readonly path: string;
  readonly message: string;
}

const OPTIONS: Options = {
  strict: false, // A keyword that we do not know is a note, not an error.
  allErrors: true,
  validateFormats: false,
  addUsedSchema: false,
  logger: false,
};

/** What is wrong with the arguments; empty when they fit. */
export function argumentFaults(
  schema: Readonly<Record<string, unknown>>,
  args: Readonly<Record<string, unknown>>,
): readonly ArgumentFault[] {
  // Generators name older dialects; what tools use of them means the same in this one.
  const { $schema: _dialect, ...plain } = schema;
  try {
    const validate = withinTime(() => newAjv().compile(plain));
    if (withinTime(() => validate(args))) return [];
    return faultsOf(validate);
  } catch (error) {
    return [{ path: "", message: `these cannot be checked against the tool's schema: ${words(error)}` }];
  }
}

function newAjv() {
  // Loaded at the first use: it takes 100 ms, and edits are rare.
  const require = createRequire(import.meta.url);
  const { Ajv2020 } = require("ajv/dist/2020.js") as typeof import("ajv/dist/2020.js");
  return new Ajv2020(OPTIONS);
}

function faultsOf(validate: ValidateFunction): readonly ArgumentFault[] {
  const faults = (validate.errors ?? []).map(faultOf);
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

/** Runs ours under a watchdog that can stop it in mid-expression: a pattern in the schema may need years for the right answer. */
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
  return String(message ?? error).slice(0, 300);
}
