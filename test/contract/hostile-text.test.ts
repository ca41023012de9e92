/** JSON that would cost its parser seconds is refused before, in milliseconds, and redaction takes no longer for any text. */
import { expect, test } from "vitest";
import { jsonFault } from "../../contract/bounded-json.ts";
import { LIMITS } from "../../contract/limits.ts";
import { redact } from "../../contract/redaction.ts";

const MEGABYTES = 8 * 1024 * 1024;

test.each([
  ["open brackets", "[".repeat(MEGABYTES)],
  ["closed brackets", "[".repeat(MEGABYTES / 2) + "]".repeat(MEGABYTES / 2)],
  ["objects in objects", '{"a":'.repeat(MEGABYTES / 5)],
  ["a long list", `[${"1,".repeat(MEGABYTES / 2)}1]`],
  ["many empty lists", `[${"[],".repeat(MEGABYTES / 3)}1]`],
  ["brackets behind a string", `["\\\\",${"[".repeat(100)}`],
])("%s are refused", (_kind, json) => {
  const startedAt = performance.now();

  expect(jsonFault(json)).toContain("expected at most");
  expect(jsonFault(Buffer.from(json))).toContain("expected at most");

  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test.each([
  ["a string of brackets", JSON.stringify({ a: "[".repeat(MEGABYTES) })],
  ["a string of quotes and backslashes", JSON.stringify({ a: '\\"[{'.repeat(MEGABYTES / 8) })],
  ["as deep as it may be", "[".repeat(LIMITS.jsonDepthMax) + "]".repeat(LIMITS.jsonDepthMax)],
  ["as many values as there may be", JSON.stringify(Array.from({ length: LIMITS.jsonValuesMax }, () => 1))],
  ["nothing", ""],
  ["no JSON", '"never closed [[[['],
])("%s is not", (_kind, json) => {
  expect(jsonFault(json)).toBeUndefined();
  expect(jsonFault(Buffer.from(json))).toBeUndefined();
});

test.each(["token", "api_key", "passwd-", "://", "://a:", "bearer ", "secret='", "sk-", "eyJ.", '"token" '])(
  "a text of nothing but %j is redacted in a time that grows with its length",
  (piece) => {
    const startedAt = performance.now();

    redact(piece.repeat(128_000 / piece.length));
    redact(`${piece}${":".repeat(128_000)}`);

    expect(performance.now() - startedAt).toBeLessThan(5_000);
  },
);
