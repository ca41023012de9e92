/** Cuts UTF-8 bytes where no character is cut in two. Bytes that are no UTF-8 may be cut anywhere. */

/** How many bytes at the end begin a character that is not complete: 0 to 3. */
export function incompleteBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte >= 0xc0) return back < sequenceLength(byte) ? back : 0;
    if (byte < 0x80) return 0;
  }
  return 0;
}

/** At most so many bytes from the beginning. */
export function headOf(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length <= length) return bytes;
  const head = bytes.subarray(0, Math.max(0, length));
  return head.subarray(0, head.length - incompleteBytes(head));
}

/** At most so many bytes from the end. */
export function tailOf(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length <= length) return bytes;
  let start = bytes.length - Math.max(0, length);
  for (let skipped = 0; skipped < 3 && isContinuation(bytes[start]); skipped++) start++;
  return bytes.subarray(start);
}

/** As text, with U+FFFD for what is no UTF-8 and for NUL, which no database takes in a text; a byte order mark stays. */
export function decode(bytes: Uint8Array): string {
  return DECODER.decode(bytes).replaceAll("\0", "\ufffd");
}

const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

function sequenceLength(first: number): number {
  if (first >= 0xf8) return 1; // No UTF-8.
  if (first >= 0xf0) return 4;
  return first >= 0xe0 ? 3 : 2;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
