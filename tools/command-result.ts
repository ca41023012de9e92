/** A command's result as a model is shown it: the output, cut in its middle when it is long, and how the command ended. */

import type { CallId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CommandEnd, Sandbox, SpoolOffsets } from "../sandbox/provider.ts";
import type { Stream } from "./command-output.ts";
import type { Redactor } from "./redactor.ts";
import { decode, headOf, tailOf } from "./utf8.ts";

/** One stream of a command: its beginning, and its end where that is not all. */
export interface Excerpt {
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
  readonly printed: number;
}

/** Room for the words around the output. */
const WORDS_BYTES = 1024;
const OUTPUT_BYTES = LIMITS.toolResultBytes - WORDS_BYTES;
/** What ends a long output says more about it than how it begins. */
const HEAD_SHARE = 0.4;

/** What of a stream may be shown at all, read from its spool: the same whichever attempt reads it. */
export async function readExcerpt(
  sandbox: Sandbox,
  spool: { readonly callId: CallId; readonly stream: Stream },
  printed: SpoolOffsets,
): Promise<Excerpt> {
  const path = sandbox.spoolPath(spool.callId, spool.stream);
  const length = printed[spool.stream];
  if (length === 0) return { head: new Uint8Array(), tail: new Uint8Array(), printed: 0 };
  if (length <= OUTPUT_BYTES) {
    return { head: await sandbox.readFile(path, { length }), tail: new Uint8Array(), printed: length };
  }
  const head = await sandbox.readFile(path, { length: OUTPUT_BYTES });
  const offset = Math.max(OUTPUT_BYTES, length - OUTPUT_BYTES);
  return { head, tail: await sandbox.readFile(path, { offset, length: OUTPUT_BYTES }), printed: length };
}

export interface AroundOutput {
  spoolPath(stream: Stream): string;
  /** How the command ended, unless it was a plain success. */
  readonly ending: string | undefined;
  /** What else there is to say of it. */
  readonly notes: readonly string[];
  readonly redactor: Redactor;
}

/** The result's text: standard output, standard error under its name, and the end when it is not a plain success. */
export function resultText(streams: Readonly<Record<Stream, Excerpt>>, around: AroundOutput): string {
  const { stdout, stderr } = streams;
  const { ending, notes } = around;
  const forStdout = Math.min(stdout.printed, Math.max(OUTPUT_BYTES / 2, OUTPUT_BYTES - stderr.printed));
  const shown = [shorten(stdout, forStdout, { stream: "stdout", around })];
  if (stderr.printed > 0) {
    shown.push("[stderr]", shorten(stderr, OUTPUT_BYTES - forStdout, { stream: "stderr", around }));
  }
  if (stdout.printed + stderr.printed === 0 && ending === undefined) shown.push("(no output)");
  for (const note of ending === undefined ? notes : [...notes, ending]) shown.push(`[${note}]`);
  return shown.filter((piece) => piece !== "").join("\n");
}

/** How a command ended, in words; undefined for a plain success. */
export function endInWords(end: CommandEnd, timeoutMs: number): string | undefined {
  switch (end.ended) {
    case "exited":
      return end.exitCode === 0 ? undefined : `exit code ${end.exitCode}`;
    case "signalled":
      return `ended by the signal ${end.signal}`;
    case "timed_out":
      return `timed out after ${timeoutMs} ms; it and what it started were ended`;
    case "killed":
      return "interrupted: it and what it started were ended";
    case "unknown":
      return "the command was started once, its process is gone and left no exit record; what it did is unknown; check before you run it again";
  }
}

interface Shown {
  readonly stream: Stream;
  readonly around: AroundOutput;
}

function shorten(excerpt: Excerpt, bytes: number, shown: Shown): string {
  const text = cutMiddle(excerpt, bytes, shown);
  // Each byte that is no UTF-8 becomes three, and a short secret more than it had.
  return Buffer.byteLength(text) <= bytes + WORDS_BYTES / 2 ? text : cutMiddle(excerpt, Math.floor(bytes / 3), shown);
}

function cutMiddle({ head, tail, printed }: Excerpt, bytes: number, { stream, around }: Shown): string {
  const { redactor } = around;
  if (printed <= bytes) return withoutLastNewline(decode(redactor.bytes(Buffer.concat([head, tail]))));
  const first = headOf(head, Math.floor(bytes * HEAD_SHARE));
  const rest = tail.length > 0 ? Buffer.concat([head.subarray(first.length), tail]) : head.subarray(first.length);
  const last = tailOf(rest, Math.floor(bytes * (1 - HEAD_SHARE)));
  const where = whereItIs(printed, around.spoolPath(stream));
  return [
    withoutLastNewline(decode(redactor.bytes(first, { end: true }))),
    `[… ${printed - first.length - last.length} of ${printed} bytes are left out here; ${where} …]`,
    withoutLastNewline(decode(redactor.bytes(last, { start: true }))),
  ].join("\n");
}

function whereItIs(printed: number, spool: string): string {
  const where = `read_file and commands can read the whole of it in ${spool}`;
  const kept = LIMITS.spoolBytesMax + LIMITS.spoolTailBytes;
  if (printed <= kept) return where;
  return `${where}, of which the first ${LIMITS.spoolBytesMax} and the last ${LIMITS.spoolTailBytes} bytes were kept`;
}

function withoutLastNewline(text: string): string {
  return text.endsWith("\n") ? text.slice(0, -1) : text;
}
