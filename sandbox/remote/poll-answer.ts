/** What `poll_call` prints, read without believing it: sizes, who runs the command, its end, and the new bytes. */
import type { CommandEnd } from "../provider.ts";
import { SandboxError } from "../provider.ts";

export interface PolledStream {
  /** Bytes printed so far. */
  readonly size: number;
  /** Where `bytes` begin. */
  readonly from: number;
  readonly bytes: Uint8Array;
}

export interface Poll {
  readonly stdout: PolledStream;
  readonly stderr: PolledStream;
  /** Undefined until a whole record is there. */
  readonly end: CommandEnd | undefined;
  /** Who won the start; no pid when a kill did. Undefined while nobody has. */
  readonly claim: { readonly pid: number | undefined; readonly timeoutMs: number } | undefined;
  /** Whether the command's parent still runs; undefined when that was not looked at. */
  readonly watched: boolean | undefined;
  readonly hasGroup: boolean;
  readonly claimAgeMs: number;
}

const HEAD_BYTES_MAX = 2_048;
const SIZES = /^(\d{1,15}) (\d{1,15}) (\d{1,15}) (\d{1,15}) ([-0]) ([-01]) (?:-|(\d{1,10}|-) (\d{1,12}))$/;
const MARK = /^[0-9a-f]{32}-out$/m;

/** `signalName` gives a signal's name by its number, where it has one. */
export function parsePoll(output: Buffer, signalName: (number: number) => string | undefined): Poll {
  const head = output.toString("latin1", 0, HEAD_BYTES_MAX);
  const mark = MARK.exec(head);
  const lines = head.slice(0, mark?.index).split("\n");
  const sizes = SIZES.exec(lines[0] ?? "");
  if (mark === null || sizes === null) throw notUnderstood();
  const begin = mark.index + mark[0].length + 1;
  const middleMark = `\n${mark[0].slice(0, -3)}err\n`;
  const middle = output.indexOf(middleMark, begin, "latin1");
  if (middle < 0) throw notUnderstood();
  const [, outSize, errSize, outFrom, errFrom, watched, group, pid, timeout] = sizes;
  const times = lines.slice(2).flatMap((line) => STAT_LINE.exec(line)?.slice(1) ?? []);
  const [claimedAt = 0, endedAt = claimedAt] = stamps(times);
  const record = lines.findLast((line) => line.startsWith("end "))?.slice(4) ?? "";
  const isClaimed = timeout !== undefined;
  return {
    stdout: { size: Number(outSize), from: Number(outFrom), bytes: output.subarray(begin, middle) },
    stderr: { size: Number(errSize), from: Number(errFrom), bytes: output.subarray(middle + middleMark.length) },
    end: endOf(record, Math.max(0, Math.round(endedAt - claimedAt)), signalName),
    claim: isClaimed ? { pid: Number(pid) > 1 ? Number(pid) : undefined, timeoutMs: Number(timeout) } : undefined,
    watched: watched === "0" ? false : undefined,
    hasGroup: group === "1",
    claimAgeMs: claimedAt === 0 ? 0 : Number(lines[1]) * 1_000 - claimedAt || 0,
  };
}

const STAT_LINE = /^\d+ (-?\d{1,12})\|[-\d]+ [\d:]+(\.\d{1,9})?/;

function stamps(pairs: readonly (string | undefined)[]): readonly number[] {
  const times: number[] = [];
  for (let i = 0; i < pairs.length; i += 2) times.push((Number(pairs[i]) + Number(`0${pairs[i + 1] ?? ".0"}`)) * 1_000);
  return times;
}

/** A record counts when its last word, a dot, is there. */
function endOf(
  record: string,
  durationMs: number,
  signalName: (number: number) => string | undefined,
): CommandEnd | undefined {
  const [ended, code, ...rest] = record.trimEnd().split(" ");
  if (rest.at(-1) !== ".") return undefined;
  if (ended === "killed" || ended === "timed_out") return { ended, durationMs };
  const exitCode = Number.parseInt(code ?? "", 10);
  if (!Number.isInteger(exitCode) || exitCode < 0 || exitCode > 255) return { ended: "unknown" };
  const signal = exitCode > 128 ? signalName(exitCode - 128) : undefined;
  return signal === undefined ? { ended: "exited", exitCode, durationMs } : { ended: "signalled", signal, durationMs };
}

function notUnderstood(): SandboxError {
  return new SandboxError("failed", "the sandbox does not work as it should: what it says of a command cannot be read");
}
