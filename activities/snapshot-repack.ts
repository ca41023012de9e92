/** Writes packs anew of which little is used any more, or of which there are too many. */
import { LIMITS } from "../contract/limits.ts";
import type { BlobStore } from "../store/blobs.ts";
import { StoreError } from "../store/error.ts";
import type { ContentPlace, SnapshotEntry, SnapshotFile } from "../store/snapshot-manifest.ts";
import { hasDigest, readPack, type SnapshotContents } from "../store/snapshot-packs.ts";

export interface Repacking {
  readonly entries: readonly SnapshotEntry[];
  /** Sizes of the blobs of the snapshot before; packs that are not among them are new, and stay. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly contents: SnapshotContents;
}

/** The same entries, at new places where their packs were written anew. Throws StoreError `corrupt` when such a pack is damaged. */
export async function repack(blobs: BlobStore, repacking: Repacking): Promise<SnapshotEntry[]> {
  const { entries, contents } = repacking;
  const wasteful = wastefulPacks(repacking);
  if (wasteful.size === 0) return [...entries];
  const places = new Map<string, ContentPlace>();
  for (const [pack, files] of wasteful) {
    const bytes = await readPack(blobs, pack);
    for (const { sha256, bytes: length, content } of files.values()) {
      // A copy: what is stored later must not hold the whole pack in memory.
      const piece = bytes.slice(content?.offset ?? 0, (content?.offset ?? 0) + length);
      if (!hasDigest(piece, sha256)) throw new StoreError("corrupt", `blob ${pack} is damaged`);
      contents.forget(sha256);
      const { place } = await contents.addSmall(piece);
      if (place !== undefined) places.set(sha256, place);
    }
  }
  await contents.finish();
  return entries.map((entry) => {
    const isMoved = entry.kind === "file" && entry.content !== undefined && wasteful.has(entry.content.blob);
    return isMoved ? { ...entry, content: places.get(entry.sha256) ?? entry.content } : entry;
  });
}

/** The packs to write anew, with the files in them that are still used, each content once. */
function wastefulPacks({ entries, sizes }: Repacking): ReadonlyMap<string, ReadonlyMap<string, SnapshotFile>> {
  const packs = new Map<string, Map<string, SnapshotFile>>();
  for (const entry of entries) {
    if (entry.kind !== "file" || entry.content === undefined || entry.bytes >= LIMITS.snapshotLargeBytes) continue;
    const files = packs.get(entry.content.blob) ?? new Map<string, SnapshotFile>();
    packs.set(entry.content.blob, files.set(entry.sha256, entry));
  }
  const isCrowded = packs.size > LIMITS.snapshotPacksMax;
  const isWasteful = (pack: string, used: number): boolean => {
    const size = sizes.get(pack);
    if (size === undefined) return false;
    return used * 2 < size || (isCrowded && used * 2 < LIMITS.snapshotPackBytes);
  };
  return new Map(
    [...packs].filter(([pack, files]) =>
      isWasteful(
        pack,
        [...files.values()].reduce((sum, { bytes }) => sum + bytes, 0),
      ),
    ),
  );
}
