/** The manifest of a snapshot: every file, folder and symlink of a workspace, and where in the store the bytes of each lie. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { Blob, BlobStore } from "./blobs.ts";
import { StoreError } from "./error.ts";

export type SnapshotEntry = SnapshotFile | SnapshotFolder | SnapshotSymlink;

interface EntryPlace {
  /** Relative to the workspace, with `/`. */
  readonly path: string;
  /** Milliseconds since 1970. */
  readonly modifiedAt: number;
}
export interface SnapshotFile extends EntryPlace {
  readonly kind: "file";
  readonly mode: number;
  readonly bytes: number;
  readonly sha256: string;
  /** What the sandbox said of it when it was read; empty when that cannot be relied on. */
  readonly version: string;
  /** Undefined of an empty file. */
  readonly content: ContentPlace | undefined;
}
export interface SnapshotFolder extends EntryPlace {
  readonly kind: "folder";
  readonly mode: number;
}
export interface SnapshotSymlink extends EntryPlace {
  readonly kind: "symlink";
  readonly target: string;
}

/** Where a file's bytes begin: in a pack of many small files, or at 0 of a blob of its own. */
export interface ContentPlace {
  readonly blob: string;
  readonly offset: number;
}

export interface Manifest {
  /** Folders before what is in them. */
  readonly entries: readonly SnapshotEntry[];
  /** The size of every blob that an entry names. */
  readonly blobs: ReadonlyMap<string, number>;
}

/**
 * The first line of the blob is a Header, each other one an entry. Blobs are named by their number in the header, because
 * thousands of files share one.
 */
interface Header {
  readonly perdure: "workspace";
  readonly format: number;
  readonly entries: number;
  readonly blobs: readonly (readonly [sha256: string, bytes: number])[];
}
type Line =
  | readonly ["d", path: string, modifiedAt: number, mode: number]
  | readonly ["l", path: string, modifiedAt: number, target: string]
  | readonly [
      ...["f", path: string, modifiedAt: number, mode: number, bytes: number],
      ...[sha256: string, version: string, blob: number, offset: number],
    ];

const FORMAT = 1;
const LINES_PER_CHUNK = 500;
const NO_BLOB = -1;

/** Stores a manifest. The same one gives the same blob. */
export async function storeManifest(blobs: BlobStore, manifest: Manifest): Promise<Blob> {
  return await blobs.put(Readable.from(chunksOf(manifest)));
}

function* chunksOf({ entries, blobs }: Manifest): Generator<Uint8Array> {
  const numbers = new Map([...blobs.keys()].map((sha256, number) => [sha256, number]));
  const header: Header = { perdure: "workspace", format: FORMAT, entries: entries.length, blobs: [...blobs] };
  yield Buffer.from(`${JSON.stringify(header)}\n`);
  for (let start = 0; start < entries.length; start += LINES_PER_CHUNK) {
    const lines = entries.slice(start, start + LINES_PER_CHUNK).map((entry) => JSON.stringify(toLine(entry, numbers)));
    yield Buffer.from(`${lines.join("\n")}\n`);
  }
}

function toLine(entry: SnapshotEntry, numbers: ReadonlyMap<string, number>): Line {
  const { path, modifiedAt } = entry;
  switch (entry.kind) {
    case "folder":
      return ["d", path, modifiedAt, entry.mode];
    case "symlink":
      return ["l", path, modifiedAt, entry.target];
    case "file": {
      const { mode, bytes, sha256, version, content } = entry;
      const blob = content === undefined ? NO_BLOB : numbers.get(content.blob);
      if (blob === undefined) throw new Error(`the blob of ${path} is not among those of its manifest`);
      return ["f", path, modifiedAt, mode, bytes, sha256, version, blob, content?.offset ?? 0];
    }
  }
}

/** Reads a manifest and checks it by its digest. Throws StoreError `corrupt` when it is missing, damaged, or of a newer Perdure. */
export async function readManifest(blobs: BlobStore, sha256: string): Promise<Manifest> {
  const hash = createHash("sha256");
  const decoder = new TextDecoder();
  const reading = new ManifestReading(sha256);
  let rest = "";
  for await (const chunk of await blobs.open(sha256)) {
    hash.update(chunk as Uint8Array);
    const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) reading.line(line);
  }
  if (hash.digest("hex") !== sha256 || rest !== "") throw damaged(sha256);
  return reading.end();
}

class ManifestReading {
  readonly #sha256: string;
  #header: Header | undefined;
  readonly #entries: SnapshotEntry[] = [];

  constructor(sha256: string) {
    this.#sha256 = sha256;
  }

  line(text: string): void {
    const value = parsed(text, this.#sha256);
    if (this.#header !== undefined) {
      this.#entries.push(toEntry(value as Line, this.#header, this.#sha256));
      return;
    }
    const header = value as Header;
    if (header.perdure !== "workspace") throw damaged(this.#sha256);
    if (header.format !== FORMAT) {
      throw new StoreError(
        "corrupt",
        `the snapshot was made by a newer Perdure (its format is ${header.format}); update`,
      );
    }
    this.#header = header;
  }

  end(): Manifest {
    if (this.#header?.entries !== this.#entries.length) throw damaged(this.#sha256);
    return { entries: this.#entries, blobs: new Map(this.#header.blobs) };
  }
}

/** A damaged line is met before the digest tells; what it holds is ours once the digest is right. */
function parsed(text: string, sha256: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw damaged(sha256, error);
  }
}

function toEntry(line: Line, header: Header, sha256: string): SnapshotEntry {
  const [, path, modifiedAt] = line;
  switch (line[0]) {
    case "d":
      return { kind: "folder", path, modifiedAt, mode: line[3] };
    case "l":
      return { kind: "symlink", path, modifiedAt, target: line[3] };
    case "f": {
      const [, , , mode, bytes, digest, version, number, offset] = line;
      const blob = header.blobs[number]?.[0];
      if (blob === undefined && number !== NO_BLOB) throw damaged(sha256);
      const content = blob === undefined ? undefined : { blob, offset };
      return { kind: "file", path, modifiedAt, mode, bytes, sha256: digest, version, content };
    }
    default:
      throw damaged(sha256);
  }
}

function damaged(sha256: string, cause?: unknown): StoreError {
  return new StoreError("corrupt", `the list of a snapshot's files (blob ${sha256}) is damaged`, { cause });
}
