/**
 * Takes known secrets out of bytes and texts: every byte of every occurrence, also where occurrences overlap.
 */
import { type Cuts, Needles, type Span } from "./needles.ts";
import { formsOf, SECRET_BYTES_MIN } from "./secret-forms.ts";

/** What stands where a secret stood. */
export const REDACTED = "[REDACTED]";

export interface Redactor {
  /** Whether there is nothing to look for. */
  readonly isEmpty: boolean;
  /** Of the longest form of a secret. */
  readonly longestBytes: number;
  text(text: string, cuts?: Cuts): string;
  bytes(bytes: Uint8Array, cuts?: Cuts): Uint8Array;
  /** How many bytes from the beginning are decided whatever comes after them: no secret begins in them and goes on behind. */
  settled(bytes: Uint8Array): number;
}

/** @param secrets Their values; one of less than four bytes is not looked for. */
export function createRedactor(secrets: Iterable<string>): Redactor {
  const forms = [...secrets].filter((secret) => Buffer.byteLength(secret) >= SECRET_BYTES_MIN).flatMap(formsOf);
  const needles = new Needles(forms);
  const bytes = (given: Uint8Array, cuts: Cuts = {}): Uint8Array => {
    const spans = needles.isEmpty ? [] : needles.spans(given, cuts);
    return spans.length === 0 ? given : without(given, spans);
  };
  return {
    isEmpty: needles.isEmpty,
    longestBytes: needles.longest,
    bytes,
    text(text, cuts) {
      if (needles.isEmpty) return text;
      const given = Buffer.from(text);
      const redacted = bytes(given, cuts);
      return redacted === given ? text : Buffer.from(redacted).toString("utf8");
    },
    settled: (given) => (needles.isEmpty ? given.length : needles.settled(given)),
  };
}

/** Looks for nothing. */
export const NO_REDACTION: Redactor = createRedactor([]);

function without(bytes: Uint8Array, spans: readonly Span[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (const { start, end } of spans) {
    pieces.push(bytes.subarray(from, start), MARK);
    from = end;
  }
  pieces.push(bytes.subarray(from));
  return new Uint8Array(Buffer.concat(pieces));
}

const MARK = new TextEncoder().encode(REDACTED);
