/** What is taken out of a text, and what is not. */
import { expect, test } from "vitest";
import { createRedactor, NO_REDACTION } from "../../tools/redactor.ts";

const SECRET = "correct horse/battery+staple=é";
const redactor = createRedactor([SECRET]);
const encoded = (text: string): string => Buffer.from(text).toString("base64");

test.each([
  ["as it is", SECRET],
  ["in JSON", JSON.stringify({ SECRET })],
  ["in a URL", `https://x.test/?q=${encodeURIComponent(SECRET)}`],
  ["in a URL, in small letters", encodeURIComponent(SECRET).toLowerCase()],
  ["in a form", new URLSearchParams({ q: SECRET }).toString()],
  ["in base64", encoded(SECRET)],
  ["in base64, one byte further", encoded(`:${SECRET}:`)],
  ["in base64, two bytes further", encoded(`u:${SECRET}:`)],
  ["in base64 of many", encoded(`user:${SECRET}`.repeat(3))],
  ["in base64url", Buffer.from(`Ab${SECRET}`).toString("base64url")],
  ["in hex", Buffer.from(SECRET).toString("hex")],
  ["in large hex", Buffer.from(SECRET).toString("hex").toUpperCase()],
])("a secret %s is taken out", (_, text) => {
  const said = redactor.text(`before ${text} after`);

  expect(said).toContain("[REDACTED]");
  expect(said).toMatch(/^before .* after$/);
  expect(Buffer.from(said.replaceAll("[REDACTED]", ""), "base64").toString("latin1")).not.toContain("battery");
  expect(said).not.toMatch(/battery|[Bb]attery/);
});

test("of overlapping secrets nothing is left, neither of the first nor of the second", () => {
  expect(createRedactor(["abcdef", "defghi"]).text("--abcdefghi--")).toBe("--[REDACTED]--");
  expect(createRedactor(["abcd", "abcdefgh"]).text("abcdefgh abcd abcdef")).toBe("[REDACTED] [REDACTED] [REDACTED]ef");
  expect(createRedactor(["aaaa"]).text("aaaaaaa b")).toBe("[REDACTED] b");
});

test("a key's lines are secrets by themselves, as a tool shows them; its frame and short lines are not", () => {
  const key =
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQC7\nx=\n-----END PRIVATE KEY-----\n";
  const numbered = key
    .split("\n")
    .map((line, index) => `     ${index}\t${line}`)
    .join("\n");

  const said = createRedactor([key]).text(numbered);

  expect(said).not.toMatch(/MIIE|AASC/);
  expect(said).toContain("BEGIN PRIVATE KEY");
  expect(createRedactor([key]).text(`<${key.replaceAll("\n", "\r\n")}>`)).not.toMatch(/MIIE|x=/);
});

test("at a cut, what is left of a secret is taken out too, and only there", () => {
  expect(redactor.text("a correct hor", { end: true })).toBe("a [REDACTED]");
  expect(redactor.text("a correct hor")).toBe("a correct hor");
  expect(redactor.text("staple=é b", { start: true })).toBe("[REDACTED] b");
  expect(redactor.text("aple=é b correct horse/b", { start: true, end: true })).toBe("[REDACTED] b [REDACTED]");
  // Three bytes and less tell nothing, and end many a word.
  expect(redactor.text("a cor", { end: true })).toBe("a cor");
});

test("a cut within a secret that holds another one leaves nothing of either", () => {
  const both = createRedactor(["0123456789abcdef", "4567"]);

  expect(both.text("x 0123456789ab", { end: true })).toBe("x [REDACTED]");
  expect(both.text("x 01234567", { end: true })).toBe("x [REDACTED]");
});

test("without secrets, and without one in it, bytes and text stay the very same", () => {
  const bytes = Buffer.from([0xff, 0, 0xc3, 0x28]);

  expect(NO_REDACTION.isEmpty).toBe(true);
  expect(NO_REDACTION.bytes(bytes)).toBe(bytes);
  expect(redactor.bytes(bytes)).toBe(bytes);
  expect(redactor.text("lone \ud800 surrogate")).toBe("lone \ud800 surrogate");
  expect(createRedactor(["abc", ""]).isEmpty).toBe(true);
});

test("bytes around a secret that are no text are kept", () => {
  const given = Buffer.concat([Buffer.from([0xe2, 0xff]), Buffer.from(SECRET), Buffer.from([0x80, 0])]);

  expect(Buffer.from(redactor.bytes(given))).toEqual(
    Buffer.concat([Buffer.from([0xe2, 0xff]), Buffer.from("[REDACTED]"), Buffer.from([0x80, 0])]),
  );
});

test("64 long secrets cost a quarter of a megabyte of output next to nothing", () => {
  const many = createRedactor(Array.from({ length: 64 }, (_, index) => `${index}-`.repeat(20)));
  const output = Buffer.from("some line of a log, 0123456789 and so on\n".repeat(6_400));
  many.bytes(output);
  const started = performance.now();

  many.bytes(output);

  expect(performance.now() - started).toBeLessThan(200);
});
