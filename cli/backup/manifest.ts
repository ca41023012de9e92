/** What a backup file says of itself: its entries in order, each with its size and its digest. The first entry of the tar. */
import { z } from "zod";

export const MANIFEST_NAME = "perdure-backup.json";
export const STORE_NAME = "perdure.db";
export const TEMPORAL_NAME = "temporal.db";
/** More than any stack's list of blobs; a file that claims more is not one of ours. */
export const MANIFEST_BYTES_MAX = 512 * 1024 * 1024;

/** Names are checked against this list of shapes, so that no entry of a foreign tar can name a place of its own. */
const EntryName = z.union([
  z.literal(STORE_NAME),
  z.literal(TEMPORAL_NAME),
  z.string().regex(/^blobs\/[0-9a-f]{2}\/[0-9a-f]{64}$/),
]);

export const BackupEntry = z
  .object({
    name: EntryName,
    bytes: z.number().int().nonnegative(),
    /** Hex SHA-256 of the entry's bytes. */
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  })
  .refine(({ name, sha256 }) => !name.startsWith("blobs/") || name === blobName(sha256), {
    message: "a blob is named by its digest",
  });
export type BackupEntry = z.infer<typeof BackupEntry>;

export const BackupManifest = z.object({
  format: z.literal(1),
  /** Version of the Perdure that wrote it. */
  perdure: z.string(),
  /** Milliseconds since 1970 at which the copy of the store was taken. */
  madeAt: z.number().int().nonnegative(),
  sessions: z.number().int().nonnegative(),
  entries: z.array(BackupEntry),
});
export type BackupManifest = z.infer<typeof BackupManifest>;

/** Where a blob lies below the state directory, and in the tar. */
export function blobName(sha256: string): string {
  return `blobs/${sha256.slice(0, 2)}/${sha256}`;
}
