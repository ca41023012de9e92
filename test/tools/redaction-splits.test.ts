/**
 * No secret gets through, however the output that holds it is split, and wherever another attempt goes on.
 *
 * Texts are made of secrets, of parts of them and of other words; what is published of their pieces must be what is left of the
 * whole text, and must hold no secret in any of its forms.
 */
import { describe, expect, test } from "vitest";
import type { SpoolOffsets } from "../../sandbox/provider.ts";
import { CommandOutput } from "../../tools/command-output.ts";
import { createStreamRedactor } from "../../tools/redacted-output.ts";
import { createRedactor, REDACTED, type Redactor } from "../../tools/redactor.ts";
import { formsOf } from "../../tools/secret-forms.ts";
import { createRandom } from "../policy/random.ts";

const TEXTS = 100;
const SPLITS_PER_TEXT = 100;

/** What makes splitting hard: one in another, one that goes on as another begins, one that repeats itself, lines, other alphabets. */
const SECRETS = [
  ["hunter2-correct-horse"],
  ["abcdef", "cdefgh", "abcdefghij"],
  ["aaaa", "aaaaaaab"],
  ["abab-abab", "abab"],
  ["-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"],
  ["pässwörd-漢字-🔑", "漢字漢字"],
  [`quote"back\\slash/and space+plus`, "tab\tand\nline"],
  ["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
] as const;

interface Case {
  readonly secrets: readonly string[];
  readonly redactor: Redactor;
  readonly text: Buffer;
}

const pick = <T>(random: () => number, from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;

function aCase(random: () => number, number: number): Case {
  const secrets = SECRETS[number % SECRETS.length] ?? [];
  const pieces = Array.from({ length: 1 + Math.floor(random() * 8) }, (): string | Uint8Array => {
    const secret = pick(random, secrets);
    const kind = random();
    if (kind < 0.35) return secret;
    if (kind < 0.5) return pick(random, formsOf(secret));
    if (kind < 0.65) return secret.slice(0, Math.floor(random() * secret.length));
    if (kind < 0.75) return secret.slice(Math.floor(random() * secret.length));
    if (kind < 0.8) return Buffer.from(`user:${secret}@`).toString("base64");
    return pick(random, ["word ", "é", "漢", "🔑", "\n", "a", REDACTED, "ab ab"]);
  });
  // A character that was cut with its secret is none.
  const text = Buffer.from(
    Buffer.concat(pieces.map((piece) => Buffer.from(piece as string)))
      .toString("utf8")
      .toWellFormed(),
  );
  return { secrets, redactor: createRedactor(secrets), text };
}

function* chunksOf(random: () => number, bytes: Uint8Array): Generator<Uint8Array> {
  const longest = 1 + Math.floor(random() * 24);
  for (let from = 0; from < bytes.length; ) {
    const length = 1 + Math.floor(random() * longest);
    yield bytes.subarray(from, from + length);
    from += length;
  }
}

/** The command's output as its events tell it, over as many attempts as the dice give it. */
function published(
  random: () => number,
  { redactor, text }: Case,
): { readonly said: string; readonly attempts: number } {
  let upTo: SpoolOffsets = { stdout: 0, stderr: 0 };
  let said = "";
  for (let attempts = 1; ; attempts++) {
    const context = {
      sandbox: { spoolPath: () => "" } as never,
      callId: "call_split" as const,
      published: upTo,
      secrets: { redactor, givenTo: () => ({ variables: {}, missing: [] }) },
      output: (_stream: string, piece: string, reached: SpoolOffsets) => {
        said += piece;
        upTo = reached;
      },
    };
    const output = new CommandOutput(context);
    let isLost = false;
    for (const chunk of chunksOf(random, text.subarray(upTo.stdout))) {
      output.add("stdout", chunk);
      isLost = attempts < 20 && random() < 0.08;
      if (isLost) break;
    }
    if (isLost) continue;
    output.end();
    return { said, attempts };
  }
}

function leaksOf({ secrets }: Case, said: string): readonly string[] {
  return secrets.flatMap((secret) =>
    formsOf(secret)
      .map((form) => Buffer.from(form).toString())
      .filter((form) => said.replaceAll(REDACTED, "\0").includes(form)),
  );
}

describe("10,000 random splits", () => {
  test("of commands' output, over one attempt and many: no leak, nothing doubled, nothing lost", () => {
    const random = createRandom(8);
    let splits = 0;
    let again = 0;
    for (let number = 0; number < TEXTS; number++) {
      const made = aCase(random, number);
      const whole = made.redactor.text(made.text.toString());
      expect(leaksOf(made, whole)).toEqual([]);
      for (let split = 0; split < SPLITS_PER_TEXT; split++) {
        const { said, attempts } = published(random, made);
        splits++;
        if (attempts > 1) again++;
        // Compared here, for an expect of each would take longer than all else.
        if (said !== whole) expect(said, JSON.stringify([made.secrets, made.text.toString()])).toBe(whole);
      }
    }
    expect(splits).toBe(10_000);
    expect(again).toBeGreaterThan(2_000);
  });

  test("of streams: what was said so far never holds more than its bytes' own share, and none of a secret", () => {
    const random = createRandom(9);
    for (let number = 0; number < TEXTS; number++) {
      const made = aCase(random, number);
      const stream = createStreamRedactor(made.redactor);
      const said: Uint8Array[] = [];
      let rawBytes = 0;
      for (const chunk of chunksOf(random, made.text)) {
        const piece = stream.push(chunk);
        said.push(piece.bytes);
        rawBytes += piece.rawBytes;
        const before = made.redactor.bytes(made.text.subarray(0, rawBytes));
        expect(Buffer.concat(said).equals(before)).toBe(true);
      }
      const last = stream.end();
      expect(rawBytes + last.rawBytes).toBe(made.text.length);
      expect(Buffer.concat([...said, last.bytes]).toString()).toBe(made.redactor.text(made.text.toString()));
    }
  });
});

test("what cannot be the beginning of a secret is said at once, and never more than a secret's length is held", () => {
  const stream = createStreamRedactor(createRedactor(["0123456789"]));

  expect(stream.push(Buffer.from("abc 01234")).rawBytes).toBe(4);
  expect(stream.push(Buffer.from("5678")).rawBytes).toBe(0);
  expect(Buffer.from(stream.push(Buffer.from("x0")).bytes).toString()).toBe("012345678x");
  expect(Buffer.from(stream.end().bytes).toString()).toBe("0");
});
