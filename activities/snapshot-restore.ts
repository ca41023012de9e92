/** Lays a snapshot into a workspace, every byte checked by digest on its way: all of it, or an error that says what is wrong. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { createTarPacker, type TarHeader, type TarPackController } from "modern-tar";
import type { SnapshotId } from "../contract/ids.ts";
import { archiveTime } from "../sandbox/archive-time.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import type { BlobStore } from "../store/blobs.ts";
import { StoreError } from "../store/error.ts";
import { type Manifest, readManifest, type SnapshotEntry, type SnapshotFile } from "../store/snapshot-manifest.ts";
import { hasDigest, readPack } from "../store/snapshot-packs.ts";
import { findSnapshot } from "../store/snapshots.ts";
import type { SnapshotDeps } from "./snapshot-take.ts";

/**
 * Resolves when the workspace has every file, folder and symlink of the snapshot; what else is there stays. Repeating it is
 * safe. Throws StoreError `corrupt`, which names the blob, when the store has not all of it: the sandbox is then of no use.
 */
export async function restoreSnapshot(
  { store }: SnapshotDeps,
  { snapshotId, sandbox }: { readonly snapshotId: SnapshotId; readonly sandbox: Pick<Sandbox, "unpack"> },
): Promise<void> {
  const snapshot = await findSnapshot(store.database, snapshotId);
  if (!snapshot) throw new StoreError("corrupt", `there is no snapshot ${snapshotId}`);
  const manifest = await readManifest(store.blobs, snapshot.manifest);
  await checkBlobs(store.blobs, manifest);
  const { readable, controller } = createTarPacker();
  const tar = Readable.fromWeb(readable);
  let isDone = false;
  let fault: unknown;
  const feeding = feed(store.blobs, manifest, controller)
    .then(() => {
      isDone = true;
      controller.finalize();
    })
    .catch((error: unknown) => {
      fault ??= error;
      controller.error(error);
    });
  tar.on("error", () => undefined); // Told by `fault`, or by whoever reads the tar.
  try {
    await sandbox.unpack(tar);
  } catch (error) {
    fault ??= error;
  } finally {
    if (!isDone) tar.destroy();
  }
  await feeding;
  if (fault !== undefined) throw fault;
  if (!isDone) throw new SandboxError("failed", `the sandbox took only a part of snapshot ${snapshotId}`);
}

/** Before anything is laid. */
async function checkBlobs(blobs: BlobStore, manifest: Manifest): Promise<void> {
  for (const sha256 of manifest.blobs.keys()) {
    if (await blobs.has(sha256)) continue;
    const one = manifest.entries.find((entry) => entry.kind === "file" && entry.content?.blob === sha256);
    throw new StoreError(
      "corrupt",
      `blob ${sha256} is not in the store, which has ${one?.path ?? "a part"} of the snapshot`,
    );
  }
}

/** Folders first; then files, by where they lie, so that each blob is read once; symlinks last, so that no file is laid through one. */
async function feed(blobs: BlobStore, { entries }: Manifest, to: TarPackController): Promise<void> {
  const byBlob = new Map<string, SnapshotFile[]>();
  for (const entry of entries) {
    if (entry.kind === "folder") await to.add(headerOf(entry)).close();
    if (entry.kind !== "file") continue;
    const blob = entry.content?.blob ?? "";
    const files = byBlob.get(blob);
    if (files) files.push(entry);
    else byBlob.set(blob, [entry]);
  }
  for (const [blob, files] of byBlob) {
    if (blob === "") await feedPacked(new Uint8Array(), files, to);
    else if (files.every(({ sha256 }) => sha256 === blob)) for (const file of files) await feedLarge(blobs, file, to);
    else await feedPacked(await readPack(blobs, blob), files, to);
  }
  for (const entry of entries) if (entry.kind === "symlink") await to.add(headerOf(entry)).close();
}

async function feedPacked(pack: Uint8Array, files: readonly SnapshotFile[], to: TarPackController): Promise<void> {
  for (const file of files) {
    const offset = file.content?.offset ?? 0;
    const content = pack.subarray(offset, offset + file.bytes);
    if (content.length !== file.bytes || !hasDigest(content, file.sha256)) throw damaged(file);
    const writer = to.add(headerOf(file)).getWriter();
    if (content.length > 0) await writer.write(content);
    await writer.close();
  }
}

async function feedLarge(blobs: BlobStore, file: SnapshotFile, to: TarPackController): Promise<void> {
  const hash = createHash("sha256");
  let left = file.bytes;
  const writer = to.add(headerOf(file)).getWriter();
  for await (const chunk of await blobs.open(file.sha256)) {
    hash.update(chunk as Uint8Array);
    left -= (chunk as Uint8Array).length;
    if (left < 0) throw damaged(file);
    await writer.write(chunk as Uint8Array);
  }
  // Before the tar holds all of it: an archive that ends here is none that could be taken for whole.
  if (left !== 0 || hash.digest("hex") !== file.sha256) throw damaged(file);
  await writer.close();
}

function damaged({ path, content, sha256 }: SnapshotFile): StoreError {
  return new StoreError("corrupt", `blob ${content?.blob ?? sha256} is damaged, which has ${path} of the snapshot`);
}

function headerOf(entry: SnapshotEntry): TarHeader {
  const mtime = archiveTime("tar", new Date(entry.modifiedAt));
  switch (entry.kind) {
    case "folder":
      return { name: `${entry.path}/`, type: "directory", size: 0, mode: entry.mode, mtime };
    case "symlink":
      return { name: entry.path, type: "symlink", size: 0, linkname: entry.target, mtime };
    case "file":
      return { name: entry.path, type: "file", size: entry.bytes, mode: entry.mode, mtime };
  }
}
