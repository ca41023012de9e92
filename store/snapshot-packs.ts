/** The bytes of a snapshot's files: many small ones together in a pack, large ones each in a blob of its own. Nothing twice. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { LIMITS } from "../contract/limits.ts";
import type { BlobStore } from "./blobs.ts";
import { StoreError } from "./error.ts";
import type { ContentPlace } from "./snapshot-manifest.ts";

/** Where contents lie, by their digest. */
export type ContentPlaces = Map<string, ContentPlace>;

export interface StoredContent {
  readonly sha256: string;
  readonly bytes: number;
  /** Undefined of no bytes. Of a small one not to be read before `finish`: until then its pack has no name. */
  readonly place: ContentPlace | undefined;
}

/** Chunks of a pack on its way to the disk: one write for many tiny files. */
const CHUNK_BYTES = 256 * 1024;

/** Stores contents that are not known yet. One at a time; then `finish`. */
export class SnapshotContents {
  readonly #blobs: BlobStore;
  readonly #known: ContentPlaces;
  /** Blobs that were stored here, with their sizes. */
  readonly fresh = new Map<string, number>();
  #pack: Uint8Array[] = [];
  #packBytes = 0;
  #places: MutablePlace[] = [];
  #storing: Promise<void> = Promise.resolve();

  /** `known`: where contents lie that need not be stored again. It grows. */
  constructor(blobs: BlobStore, known: ContentPlaces) {
    this.#blobs = blobs;
    this.#known = known;
  }

  /** Stores a content that is in memory: at most LIMITS.snapshotLargeBytes of it. The bytes must not change afterwards. */
  async addSmall(content: Uint8Array): Promise<StoredContent> {
    const bytes = content.length;
    const sha256 = createHash("sha256").update(content).digest("hex");
    if (bytes === 0) return { sha256, bytes, place: undefined };
    const known = this.#known.get(sha256);
    if (known !== undefined) return { sha256, bytes, place: known };
    if (this.#packBytes + bytes > LIMITS.snapshotPackBytes) await this.#store();
    const place = { blob: "", offset: this.#packBytes };
    this.#pack.push(content);
    this.#packBytes += bytes;
    this.#places.push(place);
    this.#known.set(sha256, place);
    return { sha256, bytes, place };
  }

  /** Stores a content of any size as a blob of its own. */
  async addLarge(content: Readable): Promise<StoredContent> {
    const { sha256, bytes } = await this.#blobs.put(content);
    const known = this.#known.get(sha256);
    if (known !== undefined) return { sha256, bytes, place: known };
    const place = bytes === 0 ? undefined : { blob: sha256, offset: 0 };
    this.fresh.set(sha256, bytes);
    if (place !== undefined) this.#known.set(sha256, place);
    return { sha256, bytes, place };
  }

  /** A content that lies in a pack which is to go: it is stored again when it is added again. */
  forget(sha256: string): void {
    this.#known.delete(sha256);
  }

  /** Resolves when everything is on the disk. */
  async finish(): Promise<void> {
    await this.#store();
    await this.#storing;
  }

  /** Everything that was stored here, also when it went wrong on the way. */
  async settled(): Promise<readonly string[]> {
    await this.#storing.catch(() => undefined); // Told to whoever called `finish`, or an earlier failure is what counts.
    return [...this.fresh.keys()];
  }

  /** The pack goes to the disk while the next one is gathered: no more than two are in memory. */
  async #store(): Promise<void> {
    await this.#storing;
    if (this.#packBytes === 0) return;
    const [pack, places] = [this.#pack, this.#places];
    [this.#pack, this.#places, this.#packBytes] = [[], [], 0];
    this.#storing = this.#blobs.put(Readable.from(joined(pack))).then(({ sha256, bytes }) => {
      this.fresh.set(sha256, bytes);
      for (const place of places) place.blob = sha256;
    });
    this.#storing.catch(() => undefined); // Thrown where it is awaited; until then somebody must listen.
  }
}

interface MutablePlace {
  blob: string;
  readonly offset: number;
}

function* joined(pieces: readonly Uint8Array[]): Generator<Uint8Array> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    held.push(piece);
    bytes += piece.length;
    if (bytes < CHUNK_BYTES) continue;
    yield Buffer.concat(held);
    [held, bytes] = [[], 0];
  }
  if (bytes > 0) yield Buffer.concat(held);
}

/** A whole pack. Throws StoreError `corrupt` when it is missing or larger than a pack can be. */
export async function readPack(blobs: BlobStore, sha256: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of await blobs.open(sha256)) {
    chunks.push(chunk as Uint8Array);
    bytes += (chunk as Uint8Array).length;
    if (bytes > LIMITS.snapshotPackBytes) throw new StoreError("corrupt", `blob ${sha256} is larger than any pack`);
  }
  return Buffer.concat(chunks);
}

export function hasDigest(content: Uint8Array, sha256: string): boolean {
  return createHash("sha256").update(content).digest("hex") === sha256;
}
