/**
 * The record of what a sandbox's commands wanted to reach: lines of JSON in files that are named by the offset of their first
 * byte. The proxy alone writes it. A line counts when it is whole, and the newest two files are kept.
 */
import { appendFileSync, closeSync, fstatSync, openSync, readdirSync, readSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { LIMITS } from "../../contract/limits.ts";
import type { NetworkDecision } from "../provider.ts";

const FILES_KEPT = 2;
const REPEATS_MAX = 1_000;
const HOST_SHOWN = LIMITS.hostNameCharactersMax;
const REASON_SHOWN = 1_000;

export interface DecisionRecord {
  /** Equal decisions within LIMITS.egressRepeatMs are written once. Never throws: a full disk must not open the gate. */
  add(decision: NetworkDecision): void;
}

/** The writer, of which a sandbox has one at a time: its proxy. */
export function createDecisionRecord(
  folder: string,
  fileBytesMax: number = LIMITS.egressRecordBytesMax,
): DecisionRecord {
  const place = recordFolder(folder);
  const repeats = new Map<string, number>();
  const isRepeat = (line: string): boolean => {
    const now = Date.now();
    const before = repeats.get(line);
    if (before !== undefined && now - before < LIMITS.egressRepeatMs) return true;
    // The oldest are first: an entry is set anew by being taken out before.
    repeats.delete(line);
    repeats.set(line, now);
    for (const [other, at] of repeats) {
      if (now - at < LIMITS.egressRepeatMs && repeats.size <= REPEATS_MAX) break;
      repeats.delete(other);
    }
    return false;
  };
  return {
    add({ host, port, decision, reason }) {
      const kept = { host: host.slice(0, HOST_SHOWN), port, decision, reason: reason.slice(0, REASON_SHOWN) };
      const line = `${JSON.stringify(kept)}\n`;
      if (isRepeat(line)) return;
      try {
        append(place, line, fileBytesMax);
      } catch {
        // What is decided stands; it is only not told.
      }
    },
  };
}

/**
 * What was decided from an offset on (0 at first), oldest first, and the offset to go on from: at most so much as
 * LIMITS.egressReadBytesMax holds. When what was asked for is not kept any more, it begins with the oldest that is.
 */
export function readDecisions(
  folder: string,
  from: number,
): { readonly decisions: readonly NetworkDecision[]; readonly next: number } {
  for (const file of recordFiles(recordFolder(folder))) {
    const end = file.base + file.bytes;
    const start = Math.max(from, file.base);
    if (start >= end) continue;
    const text = readWholeLines(file.path, start - file.base);
    if (text.length === 0) continue;
    const decisions = text.toString("utf8").split("\n").flatMap(parseLine);
    return { decisions, next: start + text.length };
  }
  return { decisions: [], next: from };
}

interface RecordFile {
  readonly path: string;
  readonly base: number;
  readonly bytes: number;
}

function append(place: string, line: string, fileBytesMax: number): void {
  const newest = recordFiles(place).at(-1);
  if (newest === undefined || newest.bytes >= fileBytesMax) {
    const base = newest === undefined ? 0 : newest.base + newest.bytes;
    appendFileSync(path.join(place, String(base).padStart(15, "0")), line, { mode: 0o600 });
    for (const old of recordFiles(place).slice(0, -FILES_KEPT)) rmSync(old.path, { force: true });
    return;
  }
  appendFileSync(newest.path, endsWhole(newest) ? line : `\n${line}`);
}

/** A proxy that was killed while it wrote has left half a line, which must not spoil the next one. */
function endsWhole({ path: file, bytes }: RecordFile): boolean {
  if (bytes === 0) return true;
  const descriptor = openSync(file, "r");
  try {
    const last = Buffer.alloc(1);
    return readSync(descriptor, last, 0, 1, bytes - 1) === 1 && last[0] === NEWLINE;
  } finally {
    closeSync(descriptor);
  }
}

const NEWLINE = 10;

/** From the offset to the end of the last line that is whole within the bound. */
function readWholeLines(file: string, offset: number): Buffer {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch {
    return Buffer.alloc(0); // It was the oldest, and has just gone.
  }
  try {
    const wanted = Math.min(LIMITS.egressReadBytesMax, Math.max(0, fstatSync(descriptor).size - offset));
    const buffer = Buffer.alloc(wanted);
    const read = buffer.subarray(0, readSync(descriptor, buffer, 0, wanted, offset));
    return read.subarray(0, read.lastIndexOf(NEWLINE) + 1);
  } finally {
    closeSync(descriptor);
  }
}

function parseLine(line: string): readonly NetworkDecision[] {
  if (line === "") return [];
  try {
    const { host, port, decision, reason } = JSON.parse(line);
    const isWhole = typeof host === "string" && typeof reason === "string" && Number.isInteger(port);
    return isWhole && (decision === "allow" || decision === "deny") ? [{ host, port, decision, reason }] : [];
  } catch {
    return [];
  }
}

function recordFiles(place: string): readonly RecordFile[] {
  let names: readonly string[];
  try {
    names = readdirSync(place);
  } catch {
    return [];
  }
  return names
    .filter((name) => /^\d{15}$/.test(name))
    .sort()
    .flatMap((name) => {
      const file = path.join(place, name);
      const stats = statSync(file, { throwIfNoEntry: false });
      return stats ? [{ path: file, base: Number(name), bytes: stats.size }] : [];
    });
}

function recordFolder(folder: string): string {
  return path.join(folder, "egress", "decisions");
}
