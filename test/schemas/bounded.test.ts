/** A stranger's schema is used when it can be, and never for longer than its bound. */
import { expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { createSchemaCompiler, fits, SchemaError } from "../../schemas/bounded.ts";

const { compile } = createSchemaCompiler();

test("a value fits or does not, and every fault is named", () => {
  const compiled = compile({ type: "object", required: ["a", "b"], properties: { a: { type: "number" } } });

  expect(fits(compiled, { a: 1, b: 2 })).toBe(true);
  expect(fits(compiled, { a: "1" })).toBe(false);
  expect(compiled.errors).toHaveLength(2);
});

test("a schema of an older dialect, with unknown keywords and formats, is used; two may have the same $id", () => {
  const old = { $schema: "http://json-schema.org/draft-07/schema#", $id: "same", format: "nope", mystery: true };

  expect(fits(compile(old), 1)).toBe(true);
  expect(fits(compile({ $id: "same", type: "string" }), 1)).toBe(false);
});

test.for(["https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/meta/validation"])(
  "a schema that calls itself %s spoils no other",
  ($id) => {
    const own = createSchemaCompiler();
    expect(fits(own.compile({ $id, type: "object" }), {})).toBe(true);

    expect(fits(own.compile({ type: "object" }), 1)).toBe(false);
    expect(() => own.compile({ type: 7 })).toThrow(/type must be/);
  },
);

test.for([
  ["without a name", {}],
  ["of a name", { $id: "https://example.com/tree" }],
] as const)("a tree %s refers to itself", ([, name]) => {
  const tree = compile({ ...name, properties: { label: { type: "string" }, kids: { items: { $ref: "#" } } } });

  expect(fits(tree, { kids: [{ kids: [{ label: "a" }] }] })).toBe(true);
  expect(fits(tree, { kids: [{ kids: [{ label: 1 }] }] })).toBe(false);
});

test("what was compiled stays as it was given", () => {
  const schema = Object.freeze({ $schema: "x", type: "object" });

  compile(schema);

  expect(schema).toEqual({ $schema: "x", type: "object" });
});

test.for([
  ["a keyword of the wrong kind", { type: 7 }],
  ["a reference to nowhere", { $ref: "#/nowhere" }],
  ["a reference to another place", { $ref: "http://127.0.0.1:1/schema" }],
  ["a pattern that is none", { pattern: "(" }],
  ["too many bytes", { description: "x".repeat(LIMITS.outputSchemaBytesMax) }],
] as const)("%s is refused in words", ([, schema]) => {
  expect(() => compile(schema)).toThrow(SchemaError);
});

test("a check that would take years is stopped", () => {
  const compiled = compile({ type: "string", pattern: "^(a+)+$" });

  expect(() => fits(compiled, `${"a".repeat(60)}!`)).toThrow(/takes more than/);
});
