/** What is written for readers and not read yet, of all streams and sockets of this process: those who read least go when it is too much. */
import { LIMITS } from "../contract/limits.ts";

export interface Reader {
  /** Bytes that are held for it. */
  readonly unread: number;
  /** Ends it. It holds nothing afterwards, and can come back and go on from where it was. */
  drop(): void;
}

export class UnreadBytes {
  readonly #bytesMax: number;
  readonly #readers = new Set<Reader>();

  constructor(bytesMax: number = LIMITS.streamsBytesMax) {
    this.#bytesMax = bytesMax;
  }

  get total(): number {
    let total = 0;
    for (const { unread } of this.#readers) total += unread;
    return total;
  }

  add(reader: Reader): void {
    this.#readers.add(reader);
  }

  remove(reader: Reader): void {
    this.#readers.delete(reader);
  }

  /** To be called when one of them holds more than it should. */
  filled(): void {
    let total = this.total;
    if (total <= this.#bytesMax) return;
    for (const reader of [...this.#readers].sort((a, b) => b.unread - a.unread)) {
      if (total <= this.#bytesMax) return;
      total -= reader.unread;
      reader.drop();
    }
  }
}
