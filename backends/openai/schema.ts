/** Whether a JSON schema fits OpenAI's strict mode, which refuses a request whose schema does not. */

type Schema = Readonly<Record<string, unknown>>;

const KEYWORDS = new Set([
  ...["type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"],
  ...["definitions", "description", "title", "$schema", "pattern", "format", "multipleOf", "maximum", "minimum"],
  ...["exclusiveMaximum", "exclusiveMinimum", "minItems", "maxItems"],
]);
const FORMATS = new Set(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]);
const PROPERTIES_MAX = 5_000;
const DEPTH_MAX = 10;

/** True when each object lists all its properties as required and takes no others, and no keyword is outside the strict subset. */
export function fitsStrictMode(schema: Schema): boolean {
  if (schema["type"] !== "object" || schema["anyOf"] !== undefined) return false;
  const budget = { properties: PROPERTIES_MAX };
  return fits(schema, budget, 0);
}

function fits(schema: unknown, budget: { properties: number }, depth: number): boolean {
  if (!isSchema(schema) || depth > DEPTH_MAX) return false;
  if (Object.keys(schema).some((keyword) => !KEYWORDS.has(keyword))) return false;
  const format = schema["format"];
  if (format !== undefined && !(typeof format === "string" && FORMATS.has(format))) return false;
  const types = [schema["type"]].flat();
  if ((types.includes("object") || schema["properties"] !== undefined) && !isClosed(schema, budget)) return false;
  if (types.includes("array") && schema["items"] === undefined) return false;
  const nested = ["properties", "$defs", "definitions"].flatMap((keyword) => {
    const named = schema[keyword];
    return isSchema(named) ? Object.values(named) : [];
  });
  if (schema["items"] !== undefined) nested.push(schema["items"]);
  if (Array.isArray(schema["anyOf"])) nested.push(...(schema["anyOf"] as unknown[]));
  return nested.every((inner) => fits(inner, budget, depth + 1));
}

function isClosed(schema: Schema, budget: { properties: number }): boolean {
  const names = Object.keys(isSchema(schema["properties"]) ? schema["properties"] : {});
  const required = Array.isArray(schema["required"]) ? new Set<unknown>(schema["required"]) : new Set<unknown>();
  budget.properties -= names.length;
  return (
    budget.properties >= 0 &&
    schema["additionalProperties"] === false &&
    required.size === names.length &&
    names.every((name) => required.has(name))
  );
}

function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
