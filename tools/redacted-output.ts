/** Redaction of bytes that come in pieces: exact wherever a secret is split, and exact again from any offset it has said. */
import type { Redactor } from "./redactor.ts";

export interface StreamRedactor {
  /** What may be shown by now, and how many raw bytes it stands for. At those bytes' end another redactor can go on. */
  push(bytes: Uint8Array): RedactedPiece;
  /** What was held back, once nothing comes after it. `isCut`: more would have come, so that half a secret is none to show. */
  end(isCut?: boolean): RedactedPiece;
}

export interface RedactedPiece {
  readonly bytes: Uint8Array;
  readonly rawBytes: number;
}

/**
 * Holds back what may be the beginning of a secret: less than the longest one, or than a run of secrets that overlap. So
 * whoever begins anew at a place that was said sees each later secret whole.
 */
export function createStreamRedactor(redactor: Redactor): StreamRedactor {
  let held: Uint8Array = NOTHING;
  return {
    push(bytes) {
      const joined = held.length > 0 ? new Uint8Array(Buffer.concat([held, bytes])) : bytes;
      const settled = redactor.settled(joined);
      // A copy: what was given may be a view of a large buffer that is used again.
      held = settled === joined.length ? NOTHING : joined.slice(settled);
      return { bytes: redactor.bytes(joined.subarray(0, settled)), rawBytes: settled };
    },
    end(isCut = false) {
      const rest = held;
      held = NOTHING;
      return { bytes: redactor.bytes(rest, { end: isCut }), rawBytes: rest.length };
    },
  };
}

const NOTHING = new Uint8Array();
