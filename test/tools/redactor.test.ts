/** What is taken out of a text, and what is not. */
import { expect, test } from "vitest";
import { createRedactor, NO_REDACTION } from "../../tools/redactor.ts";
import { formsOf } from "../../tools/secret-forms.ts";

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
  ["in small letters", SECRET.toLowerCase()],
  ["in large letters", SECRET.toUpperCase()],
  ["in letters of both kinds", "Correct HORSE/battery+Staple=é"],
  ["in decomposed Unicode", SECRET.normalize("NFD")],
  ["in a URL's path", new URL(`https://x.test/${SECRET}`).pathname],
  ["in a URL's query", new URL(`https://x.test/?${SECRET}`).search],
  ["in a URL, every byte of it", Buffer.from(SECRET).toString("hex").replace(/../g, "%$&")],
  ["twice in a URL", encodeURIComponent(encodeURIComponent(SECRET))],
  ["in JSON that has ASCII only", JSON.stringify(SECRET).replace("é", "\\u00e9")],
  ["in JSON within JSON", JSON.stringify(JSON.stringify(SECRET))],
  ["quoted for bash", "correct\\ horse/battery+staple=é"],
])("a secret %s is taken out", (_, text) => {
  const said = redactor.text(`before ${text} after`);

  expect(said).toContain("[REDACTED]");
  expect(said).toMatch(/^before .* after$/);
  expect(Buffer.from(said.replaceAll("[REDACTED]", ""), "base64").toString("latin1")).not.toContain("battery");
  expect(said).not.toMatch(/battery|[Bb]attery/);
});

const QUOTED = `<it's "a" & b\\c>`;
test.each([
  ["in HTML", "&lt;it's &quot;a&quot; &amp; b\\c&gt;"],
  ["in HTML, with its apostrophe", "&lt;it&#39;s &quot;a&quot; &amp; b\\c&gt;"],
  ["in XML", "&lt;it&apos;s &quot;a&quot; &amp; b\\c&gt;"],
  ["in Go's JSON", String.raw`\u003cit's \"a\" \u0026 b\\c\u003e`],
  ["in JSON for a page", String.raw`\u003cit\u0027s \"a\" \u0026 b\\c\u003E`],
  ["in JSON within JSON", JSON.stringify(JSON.stringify(QUOTED))],
  ["in single quotes of a shell", String.raw`<it'\''s "a" & b\c>`],
  ["in double quotes of a shell", String.raw`<it's \"a\" & b\\c>`],
  ["after printf %q", String.raw`\<it\'s\ \"a\"\ \&\ b\\c\>`],
  ["in $'' of a shell", String.raw`<it\'s "a" & b\\c>`],
])("a secret of quotes and tags %s is taken out", (_, text) => {
  expect(createRedactor([QUOTED]).text(`before ${text} after`)).toMatch(/^before .*\[REDACTED\].* after$/);
  expect(createRedactor([QUOTED]).text(text)).not.toContain("it");
});

test("a secret in other alphabets is found in small, large and composed letters, and as the name of a host", () => {
  const other = createRedactor(["Geheimnis-Übermäßig"]);

  for (const text of ["GEHEIMNIS-ÜBERMÄSSIG", "geheimnis-übermäßig", "Geheimnis-Übermäßig".normalize("NFD")]) {
    expect(other.text(`<${text}>`)).toBe("<[REDACTED]>");
  }
  expect(other.text(new URL("https://geheimnis-übermäßig.test").host)).toBe("[REDACTED].test");
});

test("base64 in lines is taken out, also when something numbers them", () => {
  const long = createRedactor(["0123456789-abcdefghijklmnopqrstuvwxyz".repeat(4)]);
  for (const width of [64, 76]) {
    const lines = Buffer.from("0123456789-abcdefghijklmnopqrstuvwxyz".repeat(4))
      .toString("base64")
      .match(new RegExp(`.{1,${width}}`, "g"));

    expect(long.text(`${lines?.join("\n")}\n`)).toMatch(/^\[REDACTED\].{0,3}\n$/);
    for (const line of lines?.slice(0, -1) ?? []) expect(long.text(`  1\t${line}`)).toBe("  1\t[REDACTED]");
  }
});

test("what is looked for of a long secret is at most 30 times its size", () => {
  const hostile = `%&<é">'\\ `.repeat(6_000).slice(0, 60_000);
  const keys = "qL8/x+2Zr0aB".repeat(5_000).replace(/.{64}/g, "$&\n");

  for (const secret of [hostile, keys]) {
    const bytes = formsOf(secret).reduce((sum, form) => sum + form.length, 0);
    expect(bytes / Buffer.byteLength(secret)).toBeLessThan(30);
  }
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

  expect(performance.now() - started).toBeLessThan(2_000);
});
