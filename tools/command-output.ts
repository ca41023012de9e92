/** A command's output on its way out: published as text while it comes, bounded, and kept while the whole of it is small. */
import { LIMITS } from "../contract/limits.ts";
import type { SpoolOffsets } from "../sandbox/provider.ts";
import { NO_REDACTION, type Redactor } from "./redactor.ts";
import type { ToolContext } from "./tool.ts";
import { decode, headOf, incompleteBytes } from "./utf8.ts";

export type Stream = "stdout" | "stderr";

/** Whose output it is, and where it goes. */
export type OutputContext = Pick<ToolContext, "sandbox" | "callId" | "published" | "output" | "secrets">;

/**
 * Publishes from `context.published` on, without secrets. A character that is cut by the end of a read is held back until its
 * rest comes, and so is what may be the beginning of a secret. The offsets say so: an attempt that goes on from them neither
 * loses nor doubles a byte, and sees each secret whole.
 */
export class CommandOutput {
  readonly #context: OutputContext;
  readonly #redactor: Redactor;
  readonly #upTo: { stdout: number; stderr: number };
  readonly #held: Record<Stream, Uint8Array> = { stdout: NOTHING, stderr: NOTHING };
  readonly #seen: Record<Stream, Uint8Array[]> = { stdout: [], stderr: [] };

  constructor(context: OutputContext) {
    this.#context = context;
    this.#redactor = context.secrets?.redactor ?? NO_REDACTION;
    this.#upTo = { stdout: context.published.stdout, stderr: context.published.stderr };
  }

  /** Whether as much is published as may be; what comes then is in the spool only. */
  get isFull(): boolean {
    return this.#left() <= 0;
  }

  /** Where to follow the command from. */
  get from(): SpoolOffsets {
    return this.isFull ? NEVER : { stdout: this.#reached("stdout"), stderr: this.#reached("stderr") };
  }

  /** The whole output, when all of the given length was seen here; undefined when the spool has to be asked. */
  whole(printed: SpoolOffsets): Record<Stream, Uint8Array> | undefined {
    const stdout = Buffer.concat(this.#seen.stdout);
    const stderr = Buffer.concat(this.#seen.stderr);
    return stdout.length === printed.stdout && stderr.length === printed.stderr ? { stdout, stderr } : undefined;
  }

  add(stream: Stream, bytes: Uint8Array): void {
    if (this.isFull) return;
    this.#seen[stream].push(bytes);
    const joined = this.#held[stream].length > 0 ? Buffer.concat([this.#held[stream], bytes]) : bytes;
    const left = this.#left();
    if (joined.length >= left) {
      // The offset reaches the bound exactly, which tells the next attempt that this was said.
      this.#held[stream] = NOTHING;
      const head = decode(this.#redactor.bytes(headOf(joined, left), { end: true }));
      this.#publish(stream, `${head}\n${this.#notice(stream)}\n`, left);
      return;
    }
    const settled = this.#redactor.settled(joined);
    const whole = settled - incompleteBytes(joined.subarray(0, settled));
    this.#held[stream] = joined.subarray(whole);
    if (whole > 0) this.#publish(stream, decode(this.#redactor.bytes(joined.subarray(0, whole))), whole);
  }

  /** Publishes what was held back: its rest will not come. */
  end(): void {
    for (const stream of ["stdout", "stderr"] as const) {
      const held = this.#held[stream];
      this.#held[stream] = NOTHING;
      if (held.length > 0 && !this.isFull) this.#publish(stream, decode(this.#redactor.bytes(held)), held.length);
    }
  }

  #publish(stream: Stream, text: string, bytes: number): void {
    this.#upTo[stream] += bytes;
    this.#context.output(stream, text, { ...this.#upTo });
  }

  #reached(stream: Stream): number {
    return this.#upTo[stream] + this.#held[stream].length;
  }

  #left(): number {
    return LIMITS.outputEventsBytesMax - this.#upTo.stdout - this.#upTo.stderr;
  }

  #notice(stream: Stream): string {
    const { sandbox, callId } = this.#context;
    return `[what comes after ${LIMITS.outputEventsBytesMax} bytes of output is in ${sandbox.spoolPath(callId, stream)}]`;
  }
}

/** Beyond every output: following from here tells the end only. */
const NEVER: SpoolOffsets = { stdout: Number.MAX_SAFE_INTEGER, stderr: Number.MAX_SAFE_INTEGER };
const NOTHING = new Uint8Array();
