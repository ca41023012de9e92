/** Compares a workspace as it was scanned with its newest snapshot: what must be read, and whether anything is different. */
import { setImmediate } from "node:timers/promises";
import type { ScannedEntry } from "../sandbox/provider.ts";
import type { SnapshotEntry, SnapshotFile } from "../store/snapshot-manifest.ts";

/** So many entries are looked at before others get their turn. */
const ENTRIES_AT_ONCE = 2_000;

/** File systems tell the time of a change by ticks: one that is this young may be changed once more without a trace. */
const TICK_MS = { fine: 50, seconds: 2_000 };

/** Permissions, without setuid and setgid: no restore lays those. */
const MODE_BITS = 0o1777;

export interface SnapshotPlan {
  /** Files whose bytes must be read, and how each was scanned. */
  readonly toRead: ReadonlyMap<string, ScannedEntry>;
  /** All others as they go into the manifest, in the order of the scan; a place is held for those to be read. */
  readonly entries: readonly (SnapshotEntry | { readonly kind: "unread"; readonly path: string })[];
}

/** `known`: the entries of the newest snapshot when its versions are this sandbox's; else nothing is taken to be unchanged. */
export async function planSnapshot(
  scanned: readonly ScannedEntry[],
  known: ReadonlyMap<string, SnapshotEntry>,
): Promise<SnapshotPlan> {
  const toRead = new Map<string, ScannedEntry>();
  const entries: SnapshotPlan["entries"][number][] = [];
  for (const [index, entry] of scanned.entries()) {
    if (index % ENTRIES_AT_ONCE === ENTRIES_AT_ONCE - 1) await setImmediate();
    const kept = entryOf(entry, known.get(entry.path));
    if (kept === undefined) toRead.set(entry.path, entry);
    entries.push(kept ?? { kind: "unread", path: entry.path });
  }
  return { toRead, entries };
}

function entryOf(entry: ScannedEntry, known: SnapshotEntry | undefined): SnapshotEntry | undefined {
  const { path, modifiedAt } = entry;
  const mode = entry.mode & MODE_BITS;
  switch (entry.kind) {
    case "folder":
      return { kind: "folder", path, modifiedAt, mode };
    case "symlink":
      return { kind: "symlink", path, modifiedAt, target: entry.target ?? "" };
    case "file": {
      if (known?.kind !== "file" || known.version === "" || known.version !== entry.version) return undefined;
      const isSame = known.bytes === entry.bytes && known.modifiedAt === modifiedAt;
      return isSame ? { ...known, mode } : undefined;
    }
  }
}

/** The entry of a file that was read. Its version is kept only when it surely tells the bytes that were read from later ones. */
export function readEntry(
  scanned: ScannedEntry,
  read: Pick<SnapshotFile, "bytes" | "sha256" | "content">,
  scannedAt: number,
): SnapshotFile {
  const { path, modifiedAt, bytes, version } = scanned;
  const tick = Number.isInteger(modifiedAt / 1_000) ? TICK_MS.seconds : TICK_MS.fine;
  const isSure = bytes === read.bytes && modifiedAt < scannedAt - tick;
  return { kind: "file", path, modifiedAt, mode: scanned.mode & MODE_BITS, version: isSure ? version : "", ...read };
}

export type Difference = "none" | "looks" | "content";

/**
 * `content`: a restore would give another workspace. `looks`: only times are different, or by what the next comparison knows
 * a file.
 */
export async function differenceOf(
  before: ReadonlyMap<string, SnapshotEntry>,
  now: readonly SnapshotEntry[],
): Promise<Difference> {
  if (before.size !== now.length) return "content";
  let difference: Difference = "none";
  for (const [index, entry] of now.entries()) {
    if (index % ENTRIES_AT_ONCE === ENTRIES_AT_ONCE - 1) await setImmediate();
    const old = before.get(entry.path);
    if (old === undefined || contentOf(old) !== contentOf(entry)) return "content";
    if (old.modifiedAt !== entry.modifiedAt || versionOf(old) !== versionOf(entry)) difference = "looks";
  }
  return difference;
}

function contentOf(entry: SnapshotEntry): string {
  switch (entry.kind) {
    case "folder":
      return `d ${entry.mode}`;
    case "symlink":
      return `l ${entry.target}`;
    case "file":
      return `f ${entry.mode} ${entry.sha256}`;
  }
}

function versionOf(entry: SnapshotEntry): string | undefined {
  return entry.kind === "file" ? entry.version : undefined;
}
