/**
 * Finds many byte strings in one pass, whatever their number: a position is looked at closely only when its four bytes begin
 * one of them. Small and large ASCII letters are the same: hosts, codes of bytes and many programs change them.
 */
import { SECRET_BYTES_MIN } from "./secret-forms.ts";

/** Which ends of a piece are cuts, where half a secret may stand. A piece of a secret under four bytes is left. */
export interface Cuts {
  readonly start?: boolean;
  readonly end?: boolean;
}

export interface Span {
  readonly start: number;
  end: number;
}

export class Needles {
  readonly longest: number;
  /** By their first four bytes, the longest first. */
  readonly #byWord = new Map<number, Buffer[]>();
  readonly #isWord = new Uint8Array(1 << 16);
  /** Their beginnings of one, two and three bytes. */
  readonly #beginnings = new Set<string>();
  readonly #all: readonly Buffer[];

  constructor(forms: readonly Uint8Array[]) {
    const unique = new Map(forms.map(folded).map((form) => [form.toString("latin1"), form]));
    this.#all = [...unique.values()].toSorted((a, b) => b.length - a.length);
    this.longest = this.#all[0]?.length ?? 0;
    for (const needle of this.#all) {
      const word = needle.readUInt32BE(0);
      this.#isWord[hashOf(word)] = 1;
      const same = this.#byWord.get(word);
      if (same) same.push(needle);
      else this.#byWord.set(word, [needle]);
      for (const length of [1, 2, 3]) this.#beginnings.add(needle.toString("latin1", 0, length));
    }
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  /** All that is covered by occurrences, in order; what overlaps is one, what only touches is not. */
  spans(given: Uint8Array, cuts: Cuts): Span[] {
    return this.#spans(folded(given), cuts);
  }

  #spans(bytes: Buffer, cuts: Cuts): Span[] {
    const found: Span[] = [];
    const add = (start: number, end: number): void => {
      const last = found.at(-1);
      if (last && start < last.end) last.end = Math.max(last.end, end);
      else found.push({ start, end });
    };
    const cutOff = cuts.start ? this.#endingAtStart(bytes) : 0;
    if (cutOff > 0) add(0, cutOff);
    for (const start of this.#wordStarts(bytes, 0)) {
      const needle = this.#at(bytes, start);
      if (needle) add(start, start + needle.length);
    }
    const begun = cuts.end ? this.#begunBeforeEnd(bytes) : bytes.length;
    if (bytes.length - begun < SECRET_BYTES_MIN) return found;
    // What lies wholly within the cut one is part of it.
    const before = found.filter(({ start }) => start < begun);
    const last = before.at(-1);
    if (last && begun < last.end) last.end = bytes.length;
    else before.push({ start: begun, end: bytes.length });
    return before;
  }

  settled(given: Uint8Array): number {
    const bytes = folded(given);
    const begun = this.#begunBeforeEnd(bytes);
    if (begun === bytes.length) return begun;
    // What is begun may overlap an occurrence that is there: the two are one then.
    return this.#spans(bytes, {}).find(({ start, end }) => start < begun && begun < end)?.start ?? begun;
  }

  #at(bytes: Buffer, start: number): Buffer | undefined {
    const left = bytes.length - start;
    const needles = this.#byWord.get(bytes.readUInt32BE(start));
    return needles?.find((one) => one.length <= left && one.compare(bytes, start, start + one.length) === 0);
  }

  /** The first position from which the rest is the beginning of a needle, and not all of it. */
  #begunBeforeEnd(bytes: Buffer): number {
    const { length } = bytes;
    for (const start of this.#wordStarts(bytes, Math.max(0, length - this.longest + 1))) {
      const rest = length - start;
      const needles = this.#byWord.get(bytes.readUInt32BE(start)) ?? [];
      if (needles.some((one) => one.length > rest && one.compare(bytes, start, length, 0, rest) === 0)) return start;
    }
    for (let start = Math.max(0, length - SECRET_BYTES_MIN + 1); start < length; start++) {
      if (this.#beginnings.has(bytes.toString("latin1", start))) return start;
    }
    return length;
  }

  /** How long a needle's end stands at the beginning, whose beginning was cut off. */
  #endingAtStart(bytes: Buffer): number {
    const first = bytes.subarray(0, SECRET_BYTES_MIN);
    if (first.length < SECRET_BYTES_MIN) return 0;
    let longest = 0;
    for (const needle of this.#all) {
      let from = needle.indexOf(first, Math.max(1, needle.length - bytes.length));
      for (; from !== -1 && needle.length - from > longest; from = needle.indexOf(first, from + 1)) {
        const rest = needle.length - from;
        if (needle.compare(bytes, 0, rest, from) === 0) longest = rest;
      }
    }
    return longest;
  }

  /** Positions whose four bytes may begin a needle. */
  *#wordStarts(bytes: Buffer, from: number): Generator<number> {
    const last = bytes.length - SECRET_BYTES_MIN;
    if (last < from) return;
    let word = bytes.readUInt32BE(from);
    for (let start = from; start <= last; start++) {
      if (start > from) word = ((word << 8) | (bytes[start + 3] ?? 0)) >>> 0;
      if (this.#isWord[hashOf(word)] === 1) yield start;
    }
  }
}

function hashOf(word: number): number {
  return (word ^ (word >>> 16)) & 0xffff;
}

/** A copy in which every large ASCII letter is a small one. Each byte stays where it is. */
function folded(given: Uint8Array): Buffer {
  const bytes = Buffer.from(given);
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte >= 65 && byte <= 90) bytes[at] = byte + 32;
  }
  return bytes;
}
