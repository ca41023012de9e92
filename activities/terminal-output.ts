/** What a terminal prints, on its way into rows: in pieces of a size or a moment, without secrets, the oldest dropped. */
import { LIMITS } from "../contract/limits.ts";
import type { TerminalFrame, TerminalProgress } from "../store/terminals.ts";
import type { Redactor } from "../tools/redactor.ts";

/**
 * What may be the beginning of a secret is held back for its rest, but not for ever: somebody who types sees what he types. Of
 * four bytes and more it is held longer, for little else begins so.
 */
const HELD_MS = { short: 40, long: 1_000 } as const;
const SHORT_BYTES = 4;

export interface TerminalOutputOptions {
  readonly redactor: Redactor;
  /** Commits it. Throws when that cannot be done, and nothing is printed any more. */
  write(progress: Pick<TerminalProgress, "output" | "keptFrom">): Promise<void>;
  onError(error: unknown): void;
}

export class TerminalOutput {
  readonly #options: TerminalOutputOptions;
  #pending: Uint8Array = new Uint8Array();
  #heldSince: number | undefined;
  #isEnding = false;
  #wroteAt = 0;
  #lastNumber = 0;
  #keptBytes = 0;
  readonly #kept: { readonly number: number; readonly bytes: number }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: TerminalOutputOptions) {
    this.#options = options;
  }

  /**
   * Takes what was printed; resolves when more may be printed: what prints without end waits for the store, and is written in
   * many pieces at once meanwhile.
   */
  async add(bytes: Uint8Array): Promise<void> {
    this.#pending = new Uint8Array(Buffer.concat([this.#pending, bytes]));
    if (this.#pending.length >= LIMITS.terminalKeptBytes / 2) await this.#flush();
    else if (this.#pending.length >= LIMITS.terminalFrameBytes) this.#schedule(0);
    // What comes after a pause, such as the echo of a key, goes at once; only what follows it is gathered.
    else this.#schedule(Math.max(0, this.#wroteAt + LIMITS.terminalFrameMs - Date.now()));
  }

  /** Writes all that is left. */
  async end(): Promise<void> {
    clearTimeout(this.#timer);
    this.#isEnding = true;
    await this.#flush();
  }

  #schedule(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#flush().catch(this.#options.onError);
    }, ms);
  }

  /** One after the other, each with all that is there when its turn comes. */
  #flush(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    const ready = this.#take();
    if (ready.length === 0) return;
    this.#wroteAt = Date.now();
    const bytes = this.#options.redactor.bytes(ready);
    const output: TerminalFrame[] = [];
    for (let from = 0; from < bytes.length; from += LIMITS.terminalFrameBytes) {
      const piece = bytes.slice(from, from + LIMITS.terminalFrameBytes);
      output.push({ number: ++this.#lastNumber, bytes: piece });
      this.#kept.push({ number: this.#lastNumber, bytes: piece.length });
      this.#keptBytes += piece.length;
    }
    while (this.#keptBytes > LIMITS.terminalKeptBytes) this.#keptBytes -= this.#kept.shift()?.bytes ?? 0;
    await this.#options.write({ output, keptFrom: this.#kept[0]?.number ?? 0 });
  }

  /** What can be said by now; the rest is looked at again when it has been held for long enough. */
  #take(): Uint8Array {
    const settled = this.#options.redactor.settled(this.#pending);
    const held = this.#pending.length - settled;
    const now = Date.now();
    if (held === 0 || this.#isEnding) return this.#cut(this.#pending.length);
    // Behind what is said now, it is another beginning, with a time of its own.
    if (settled > 0 || this.#heldSince === undefined) this.#heldSince = now;
    const left = (held < SHORT_BYTES ? HELD_MS.short : HELD_MS.long) - (now - this.#heldSince);
    if (left <= 0) return this.#cut(this.#pending.length);
    this.#schedule(left);
    return this.#cut(settled, this.#heldSince);
  }

  #cut(length: number, heldSince?: number): Uint8Array {
    const ready = this.#pending.subarray(0, length);
    this.#pending = this.#pending.slice(length);
    this.#heldSince = heldSince;
    return ready;
  }
}
