/** Checking an answer against an agent's outputSchema, with schemas of strangers. */
import { expect, test } from "vitest";
import { createOutputValidator, createOutputValidators, type OutputCheck } from "../../backends/output-schema.ts";

const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

function errorsOf(check: OutputCheck): string {
  return "errors" in check ? check.errors : `no errors, but ${JSON.stringify(check.value)}`;
}

test("an answer that fits comes back as a value, also out of a fence", () => {
  const validate = createOutputValidator(CITY);

  expect(validate('{"city":"Oslo"}')).toEqual({ value: { city: "Oslo" } });
  expect(validate('```json\n{"city":"Oslo"}\n```\n')).toEqual({ value: { city: "Oslo" } });
});

test.each([
  ["a byte order mark", '\ufeff{"city":"Oslo"}'],
  ["thoughts before it", '<think>Norway, so {cold}.</think>\n{"city":"Oslo"}'],
  ["words before it", 'Here is the JSON:\n\n{"city":"Oslo"}'],
  ["words behind it", '{"city":"Oslo"}\n\nLet me know!'],
  ["words around a fence", 'Here:\n```json\n{"city":"Oslo"}\n```\nBye.'],
])("an answer with %s is read", (_, text) => {
  expect(createOutputValidator(CITY)(text)).toEqual({ value: { city: "Oslo" } });
});

test.each([
  ["no JSON", "Oslo", /expected JSON, found "Oslo"/],
  ["nothing", "", /expected JSON/],
  ["a wrong type", '{"city":42}', /\/city must be string/],
  ["a missing property", "{}", /the answer must have required property 'city'/],
  ["one too many", '{"city":"Oslo","x":1}', /must NOT have additional properties: "x"/],
])("an answer with %s is told what is wrong", (_, text, expected) => {
  expect(errorsOf(createOutputValidator(CITY)(text))).toMatch(expected);
});

test("all mistakes are told at once, and endless ones are cut", () => {
  const properties = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`p${i}`, { type: "string" }]));
  const validate = createOutputValidator({ type: "object", properties, required: Object.keys(properties) });

  const errors = errorsOf(validate("{}"));

  expect(errors).toContain("'p0'");
  expect(errors).toContain("'p9'");
  expect(errors).toMatch(/and 20 more$/);
});

test.each([
  ["an unknown type", { type: "wish" }],
  ["a reference to nowhere", { $ref: "#/$defs/none" }],
  ["a reference to the network", { $ref: "https://example.com/schema.json" }],
  ["a pattern that is none", { type: "object", properties: { a: { type: "string", pattern: "(" } } }],
  ["too much text", { description: "x".repeat(300 * 1024) }],
])("a schema with %s is refused in words", (_, schema) => {
  expect(errorsOf(createOutputValidator(schema)("{}"))).toMatch(/^the outputSchema cannot be used: /);
});

test("a pattern that would take years is stopped", () => {
  const validate = createOutputValidator({ type: "string", pattern: "^(a+)+$" });
  const startedAt = Date.now();

  const errors = errorsOf(validate(JSON.stringify(`${"a".repeat(60)}b`)));

  expect(errors).toMatch(/takes more than 1000 ms/);
  expect(Date.now() - startedAt).toBeLessThan(5_000);
});

test("older dialects and unknown keywords and formats are taken", () => {
  const schema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    type: "object",
    $id: "same",
    x: 1,
    format: "wish",
  };

  expect(createOutputValidator(schema)("{}")).toEqual({ value: {} });
  expect(createOutputValidator({ ...schema, title: "another with the same id" })("{}")).toEqual({ value: {} });
});

test("a schema that was used before is not compiled again, and many schemas do not pile up", () => {
  const create = createOutputValidators();
  const many = Array.from({ length: 200 }, (_, i) => ({ type: "object", title: `schema ${i}` }));
  for (const schema of many) expect(create(schema)("{}")).toEqual({ value: {} });

  const startedAt = performance.now();
  for (let i = 0; i < 100; i++) create({ type: "object", title: "schema 199" })("{}");

  expect((performance.now() - startedAt) / 100).toBeLessThan(50);
});
