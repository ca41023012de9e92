/** A plugin tool's parameters: told to the model as a JSON schema, checked by the code of whoever made the schema. */
import { z } from "zod";
import {
  argumentCheck,
  type CheckedArguments,
  type ArgumentIssue as Issue,
  isHardSchema,
} from "../schemas/arguments.ts";
import { withinTime } from "../schemas/bounded.ts";

/** As `Tool` has them. */
export interface ReadParameters {
  readonly schema: z.ZodType;
  readonly jsonSchema: Readonly<Record<string, unknown>>;
  readonly isHard: boolean;
}

type Check = (raw: unknown) => CheckedArguments;

/** A schema of zod 4, this program's or the module's own: another instance is no `instanceof` of ours. */
interface ForeignZod {
  safeParse(raw: unknown): {
    readonly success: boolean;
    readonly data?: unknown;
    readonly error?: { readonly issues: readonly Issue[] };
  };
  toJSONSchema?(options: { readonly io: "input" }): object;
}

/** @throws Error that says what is wrong with the schema, for whoever wrote the plugin. */
export async function readParameters(given: unknown): Promise<ReadParameters> {
  if (isZod4(given)) {
    return { schema: checkedBy(zodCheck(given)), jsonSchema: objectSchema(jsonSchemaOf(given)), isHard: false };
  }
  if (!isRecord(given)) throw new Error("expected a schema of zod 4 or a JSON schema");
  if ("safeParse" in given || "~standard" in given) {
    throw new Error("expected a schema of zod 4 or a JSON schema; this one cannot be told to a model");
  }
  const jsonSchema = objectSchema(given);
  const check = compiled(() => argumentCheck(jsonSchema));
  return { schema: checkedBy(check), jsonSchema, isHard: isHardSchema(jsonSchema) };
}

function isZod4(given: unknown): given is ForeignZod {
  return isRecord(given) && "_zod" in given && typeof given["safeParse"] === "function";
}

/** By the schema's own instance where that can: ours need not know all of another version's. */
function jsonSchemaOf(given: ForeignZod): object {
  try {
    if (typeof given.toJSONSchema === "function") return given.toJSONSchema({ io: "input" });
    return z.toJSONSchema(given as unknown as z.ZodType, { io: "input" });
  } catch (cause) {
    throw new Error(`it cannot be written as a JSON schema: ${messageOf(cause)}`, { cause });
  }
}

/** A copy that is plain JSON, and an object at its top, as every model's provider wants it. */
function objectSchema(given: object): Readonly<Record<string, unknown>> {
  let copy: Record<string, unknown>;
  try {
    copy = JSON.parse(JSON.stringify(given)) as Record<string, unknown>;
  } catch (cause) {
    throw new Error(`it is not JSON: ${messageOf(cause)}`, { cause });
  }
  const { $schema, ...schema } = copy;
  if (schema["type"] === "object") return schema;
  throw new Error(
    `expected an object at its top ("type": "object"), found ${JSON.stringify(schema["type"] ?? "none")}`,
  );
}

/** It is code of the plugin's, so no thread can have it; a pattern in it meets a model's text, so it has its time. */
function zodCheck(given: ForeignZod): Check {
  return (raw) => {
    const parsed = withinTime(() => given.safeParse(raw));
    return parsed.success ? { value: parsed.data } : { issues: parsed.error?.issues ?? [] };
  };
}

function compiled<T>(compile: () => T): T {
  try {
    return compile();
  } catch (cause) {
    throw new Error(`it is no valid JSON schema: ${messageOf(cause)}`, { cause });
  }
}

/** One kind of schema for whoever calls the tool, and the same kind of words for what is wrong. */
function checkedBy(check: Check): z.ZodType {
  return z.unknown().transform((raw, context) => {
    const checked = withoutThrowing(check)(raw);
    if ("value" in checked) return checked.value;
    for (const { path, message } of checked.issues) {
      context.addIssue({ code: "custom", path: [...path], message, input: raw });
    }
    return z.NEVER;
  });
}

/** A refinement may throw, or be asynchronous, which nobody can wait for here. That is the call's error, not the worker's. */
function withoutThrowing(check: Check): Check {
  return (raw) => {
    try {
      return check(raw);
    } catch (error) {
      return { issues: [{ path: [], message: `they could not be checked: ${messageOf(error)}` }] };
    }
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isRecord(given: unknown): given is Readonly<Record<string, unknown>> {
  return typeof given === "object" && given !== null && !Array.isArray(given);
}
