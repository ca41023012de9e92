/** Redaction: what looks like a secret, and secrets that are known by their value. */
import { expect, test } from "vitest";
import { createRedaction, redact } from "../../contract/redaction.ts";

test.each([
  ["a maker's key", "used sk-abcdefgh12345678 for it"],
  ["a password in a link", "cannot reach https://me:hunter2@example.com/x"],
  ["a bearer", "sent X-Auth: Bearer abc.def"],
  ["what a word names", "DB_PASSWORD=hunter2 psql"],
])("%s is taken out", (_, text) => {
  expect(redact(text)).not.toMatch(/hunter2|abcdefgh|abc\.def/);
  expect(redact(text)).toContain("[redacted]");
});

test("a known secret is taken out wherever it stands, the longer of two that begin alike first", () => {
  const redaction = createRedaction(["correct", "correct horse", "x.*y"]);

  expect(redaction("correct horse; x.*y; xzy; correct")).toBe("[redacted]; [redacted]; xzy; [redacted]");
});

test("a known secret is taken out in other letters, in JSON and in a URL, too", () => {
  const redaction = createRedaction(['Pass"word/1']);

  expect(redaction(`pass"WORD/1 ${JSON.stringify('Pass"word/1')} ${encodeURIComponent('Pass"word/1')}`)).toBe(
    '[redacted] "[redacted]" [redacted]',
  );
});

test("a text without secrets stays as it is", () => {
  expect(createRedaction([])("the file a.txt has 3 lines\nand no more")).toBe(
    "the file a.txt has 3 lines\nand no more",
  );
});
