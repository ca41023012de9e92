/** Lays a tar into the workspace of a remote sandbox: each entry is checked here, and its way inside. */
import type { Readable } from "node:stream";
import { createTarDecoder, type ParsedTarEntry } from "modern-tar";
import { SandboxError } from "../provider.ts";
import { bytesOf } from "../web-bytes.ts";
import { giveBlocks, inBlocks } from "./remote-files.ts";
import { pathWords, plainRelative, type RemoteFolders } from "./remote-paths.ts";
import { toSandboxError } from "./request-errors.ts";
import type { Shells } from "./shells.ts";
import { type LaidEntry, TAR_END, tarHeader, tarPadding } from "./tar-blocks.ts";

/** Entries that are laid at once; of a file that is larger the content is streamed. */
const SEGMENT = { entries: 500, bytes: 8 * 1024 * 1024 } as const;
/** No file of an archive becomes setuid or setgid. */
const MODE_BITS = 0o1777;
const LAYING_MS = 120_000;

interface Segment {
  readonly entries: LaidEntry[];
  readonly parts: Uint8Array[];
  readonly links: Set<string>;
  bytes: number;
}

/** See `Sandbox.unpack`. */
export async function unpackRemote(shells: Shells, { workspace }: RemoteFolders, tar: Readable): Promise<void> {
  const folders: LaidEntry[] = [];
  let segment = emptySegment();
  const flush = async (): Promise<void> => {
    const { entries, parts } = segment;
    segment = emptySegment();
    if (entries.length === 0) return;
    await makeWay(shells, workspace, entries);
    await layTar(shells, [...parts, TAR_END]);
  };
  for await (const { header, body } of read(bytesOf(tar).pipeThrough(createTarDecoder({ strict: true })))) {
    const entry = laidEntry(header);
    // What goes through a symlink of this very archive is found out when that one is laid.
    if (goesThrough(entry.name, segment.links)) await flush();
    if (entry.kind === "folder") folders.push(entry);
    if (entry.bytes > SEGMENT.bytes) {
      await flush();
      await makeWay(shells, workspace, [entry]);
      await layTar(shells, streamed(entry, body));
      continue;
    }
    segment.entries.push(entry);
    // A folder that may not be written must not keep its files out: its own mode comes last.
    segment.parts.push(tarHeader(entry.kind === "folder" ? { ...entry, mode: entry.mode | 0o700 } : entry));
    let bytes = 0;
    for await (const piece of read(body)) {
      bytes += piece.length;
      segment.parts.push(piece);
    }
    if (bytes !== entry.bytes)
      throw new SandboxError("failed", `${entry.name} has not the size that it is said to have`);
    segment.parts.push(tarPadding(bytes));
    segment.bytes += bytes;
    if (entry.kind === "symlink") segment.links.add(entry.name);
    if (segment.entries.length >= SEGMENT.entries || segment.bytes >= SEGMENT.bytes) await flush();
  }
  await flush();
  const insideOut = folders.reverse();
  for (let done = 0; done < insideOut.length; done += SEGMENT.entries) {
    const some = insideOut.slice(done, done + SEGMENT.entries);
    await layTar(shells, [...some.map(tarHeader), TAR_END]);
  }
}

function emptySegment(): Segment {
  return { entries: [], parts: [], links: new Set(), bytes: 0 };
}

function laidEntry({ name: given, type = "file", size, mode, mtime, linkname }: ParsedTarEntry["header"]): LaidEntry {
  if (given.split("/").includes("..")) throw new SandboxError("denied", `${given} leads out of the workspace`);
  const name = plainRelative(given);
  const plain = { name, bytes: 0, modifiedAt: Math.floor((mtime?.getTime() ?? 0) / 1_000) };
  switch (type) {
    case "directory":
      if (size > 0) throw new SandboxError("failed", `${name} is a folder with content`);
      return { ...plain, kind: "folder", mode: (mode ?? 0o755) & MODE_BITS };
    case "file":
      return { ...plain, kind: "file", bytes: size, mode: (mode ?? 0o644) & MODE_BITS };
    case "symlink":
      if (!linkname || linkname.includes("\0")) throw new SandboxError("denied", `${name} is a symlink to nothing`);
      return { ...plain, kind: "symlink", mode: 0o777, target: linkname };
    default:
      throw new SandboxError("denied", `${name} is a ${type}; expected a file, a folder or a symlink`);
  }
}

function goesThrough(name: string, links: ReadonlySet<string>): boolean {
  if (links.size === 0) return false;
  const parts = name.split("/");
  return parts.some((_, index) => links.has(parts.slice(0, index + 1).join("/")));
}

/** Removes what stands in the way; an entry whose folder is a symlink, or lies behind one, is denied. */
async function makeWay(shells: Shells, workspace: string, entries: readonly LaidEntry[]): Promise<void> {
  const places = entries.flatMap(({ kind, name }) => [kind === "folder" ? "d" : "f", `${workspace}/${name}`]);
  const reply = await shells.ask(`make_way ${pathWords(...places)}`, { silenceMs: LAYING_MS });
  if (reply.status !== 0) throw toSandboxError(reply, "an entry of the archive");
}

async function layTar(shells: Shells, parts: readonly Uint8Array[] | AsyncIterable<Uint8Array>): Promise<void> {
  const blocks = inBlocks(Array.isArray(parts) ? [Buffer.concat(parts)] : parts);
  await giveBlocks(shells, { line: "lay_tar", blocks, given: "an entry of the archive", silenceMs: LAYING_MS });
}

async function* streamed(entry: LaidEntry, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  yield tarHeader(entry);
  let bytes = 0;
  for await (const piece of read(body)) {
    bytes += piece.length;
    yield piece;
  }
  if (bytes !== entry.bytes) throw new SandboxError("failed", `${entry.name} has not the size that it is said to have`);
  yield tarPadding(bytes);
  yield TAR_END;
}

/** What breaks while the archive is read is told apart from what breaks while it is laid. */
async function* read<T>(stream: AsyncIterable<T>): AsyncGenerator<T, void, void> {
  try {
    yield* stream;
  } catch (cause) {
    if (cause instanceof SandboxError) throw cause;
    const said = cause instanceof Error ? cause.message : "unknown";
    throw new SandboxError("failed", `the archive could not be read to its end: ${said}`, { cause });
  }
}
