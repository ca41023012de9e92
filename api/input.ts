/** From what a client sent to what the schemas promise, or to INVALID_INPUT that names each wrong field. */
import type { z } from "zod";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";

export type Place = "body" | "query" | "path" | "headers";
export type Fault = { readonly path: string; readonly message: string };

const FAULTS_MAX = 20;

/** Parses a value of the request. Throws INVALID_INPUT with a JSON pointer per fault. */
export function parseFrom<T extends z.ZodType>(schema: T, value: unknown, place: Place): z.output<T> {
  if (place === "body") refuseHostile(value);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const root = place === "body" ? "" : `/${place}`;
  const faults = parsed.error.issues.flatMap((issue) => faultsOf(issue, root, value));
  throw invalid(faults);
}

/** INVALID_INPUT for one field. */
export function invalidField(path: string, message: string): ProblemError {
  return invalid([{ path, message }]);
}

/** INVALID_INPUT for all of these. */
export function invalid(faults: readonly Fault[]): ProblemError {
  const words = faults
    .slice(0, 3)
    .map((fault) => (fault.path === "" ? fault.message : `${fault.path}: ${fault.message}`));
  const more = faults.length > 3 ? `; and ${faults.length - 3} more` : "";
  return new ProblemError("INVALID_INPUT", words.join("; ") + more, { errors: faults.slice(0, FAULTS_MAX) });
}

/** `within`: the value that the issue's path leads into. */
function faultsOf(issue: z.core.$ZodIssue, root: string, within: unknown): readonly Fault[] {
  const path = root + issue.path.map(pointerPart).join("");
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: path + pointerPart(key), message: "this field is not known here" }));
  }
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    return faultsOfUnion(issue.errors, path, valueAt(within, issue.path));
  }
  // A name in a record: the rule that it breaks is in the issues below.
  if (issue.code === "invalid_key") return issue.issues.map(({ message }) => ({ path, message }));
  if (issue.code === "invalid_type" && valueAt(within, issue.path) === undefined) {
    return [{ path, message: path === "" ? "expected a body of JSON; there is none" : "this is required" }];
  }
  return [{ path, message: issue.message }];
}

/** Of a union, the member that the client meant: the first that takes the value's own type, and of those the first that misses no field. */
function faultsOfUnion(
  members: readonly (readonly z.core.$ZodIssue[])[],
  path: string,
  value: unknown,
): readonly Fault[] {
  const ofItsType = members.filter((issues) => !issues.some((issue) => isOtherType(issue, value)));
  const meant = ofItsType.find((issues) => !issues.some(isMissingField)) ?? ofItsType[0];
  if (meant) return meant.flatMap((issue) => faultsOf(issue, path, value));
  const faults = members.flatMap((issues) => issues.flatMap((issue) => faultsOf(issue, path, value)));
  return [{ path, message: [...new Set(faults.map((fault) => fault.message))].join(", or: ") }];
}

function isOtherType(issue: z.core.$ZodIssue, value: unknown): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code === "invalid_union") {
    return issue.errors.every((issues) => issues.some((one) => isOtherType(one, value)));
  }
  // An object that is none of some words was not meant as one.
  if (issue.code === "invalid_value") return issue.values.every((word) => typeof word !== typeof value);
  return issue.code === "invalid_type";
}

function valueAt(within: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce(
    (value: unknown, key) => (value as Record<PropertyKey, unknown> | undefined | null)?.[key],
    within,
  );
}

/** A value of JSON is never undefined: what is, is not there. */
function isMissingField(issue: z.core.$ZodIssue): boolean {
  return issue.code === "invalid_type" && issue.path.length === 1 && issue.message.endsWith("received undefined");
}

/** A key as a part of a JSON pointer. */
export function pointerPart(key: PropertyKey): string {
  return `/${String(key).slice(0, 200).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** Refuses what no schema need ever see: JSON so deep or so large that reading it costs more than it can be worth, and keys that reach prototypes. */
function refuseHostile(body: unknown): void {
  const { jsonDepthMax, jsonValuesMax } = LIMITS;
  let values = 0;
  const look = (value: unknown, path: readonly string[]): void => {
    if (typeof value !== "object" || value === null) return;
    if (path.length > jsonDepthMax) {
      throw invalidField("", `expected at most ${jsonDepthMax} nested objects and lists; this body nests deeper`);
    }
    if (Object.hasOwn(value, "__proto__")) {
      throw invalidField([...path, "__proto__"].map(pointerPart).join(""), "this name is not allowed for a field");
    }
    const keys = Object.keys(value);
    values += keys.length;
    if (values > jsonValuesMax) {
      throw invalidField("", `expected at most ${jsonValuesMax} fields and list items; this body has more`);
    }
    for (const key of keys) {
      const item = (value as Record<string, unknown>)[key];
      if (typeof item === "object") look(item, [...path, key]);
    }
  };
  look(body, []);
}

const DURATION = /^(\d{1,9})(ms|s|m)$/;
const UNIT_MS = { ms: 1, s: 1_000, m: 60_000 } as const;

/** `500ms`, `30s` or `2m` in milliseconds; undefined when it is none of them. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = DURATION.exec(text) ?? [];
  return count === undefined ? undefined : Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
}
