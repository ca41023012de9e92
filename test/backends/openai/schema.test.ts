/** Which schemas are sent in strict mode. */
import { expect, test } from "vitest";
import { fitsStrictMode } from "../../../backends/openai/schema.ts";

const closed = (properties: Record<string, unknown>, required = Object.keys(properties)): Record<string, unknown> => ({
  type: "object",
  ...{ properties, required, additionalProperties: false },
});

test("a schema whose objects are closed and complete at every level fits", () => {
  const inner = closed({ b: { type: ["string", "null"] }, c: { enum: ["x"] } });
  const schema = {
    ...closed({ a: inner, list: { type: "array", items: { $ref: "#/$defs/d" } } }),
    $defs: { d: closed({}) },
  };

  expect(fitsStrictMode(schema)).toBe(true);
});

test.each([
  ["a property that is not required", closed({ a: { type: "string" } }, [])],
  ["an open object", { type: "object", properties: {}, required: [] }],
  ["an open object inside", closed({ a: { type: "array", items: { type: "object" } } })],
  ["an open object in a definition", { ...closed({}), $defs: { d: { type: "object" } } }],
  ["an unsupported keyword", closed({ a: { type: "string", minLength: 1 } })],
  ["an unsupported format", closed({ a: { type: "string", format: "uri" } })],
  ["a list without items", closed({ a: { type: "array" } })],
  ["a list at the top", { type: "array", items: {} }],
  ["a choice at the top", { ...closed({}), anyOf: [closed({})] }],
  [
    "too many levels",
    Array.from({ length: 12 }).reduce<Record<string, unknown>>((inner) => closed({ inner }), closed({})),
  ],
])("%s does not fit", (_, schema) => {
  expect(fitsStrictMode(schema)).toBe(false);
});
