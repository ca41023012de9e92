/** Reads many files of a sandbox as one tar; those that cannot be read are found out and named, and hide no other. */
import { createTarDecoder, type ParsedTarEntry } from "modern-tar";
import { LIMITS } from "../contract/limits.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import { bytesOf } from "../sandbox/web-bytes.ts";
import { StoreError } from "../store/error.ts";

/** What takes one file's bytes. It must read them to their end before it resolves. */
export type TakeFile = (file: FoundFile) => Promise<void>;

export interface FoundFile {
  readonly path: string;
  /** As the tar declares it; undefined when it is only known at the end. */
  readonly bytes: number | undefined;
  readonly content: AsyncIterable<Uint8Array>;
  /** Of a file that the tar gives as another name of one that came before: that one, and the content is empty. */
  readonly sameAs?: string;
}

/**
 * Gives each of these files to `take`, in any order, and returns those that may not be read. A file that is gone is left out
 * in silence. Throws what `take` throws, SandboxError `lost`, and `failed` when too many cannot be read.
 */
export async function readFiles(
  sandbox: Pick<Sandbox, "pack" | "openFile">,
  paths: readonly string[],
  take: TakeFile,
): Promise<readonly string[]> {
  const unreadable: string[] = [];
  const waiting: (readonly string[])[] = paths.length > 0 ? [paths] : [];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { left, isWhole } = await readTar(sandbox, next, take);
    if (isWhole) {
      // What is missing of a whole tar is gone; but a name that is no text is there, and nobody can ask for it.
      unreadable.push(...left.filter((path) => path.includes("\uFFFD")));
    } else if (left.length === 1) {
      if ((await readAlone(sandbox, left[0] ?? "", take)) === "unreadable") unreadable.push(left[0] ?? "");
    } else {
      // One of them breaks the tar; it is found by halves.
      const half = Math.ceil(left.length / 2);
      waiting.push(left.slice(half), left.slice(0, half));
    }
    if (unreadable.length > LIMITS.snapshotUnreadableMax) {
      const message = `more than ${LIMITS.snapshotUnreadableMax} files of the workspace may not be read, ${unreadable[0]} among them; give their owner's permission or exclude them`;
      throw new SandboxError("failed", message);
    }
  }
  return unreadable.sort();
}

interface TarRead {
  /** Paths that did not come. */
  readonly left: readonly string[];
  /** Whether the tar came to its end. */
  readonly isWhole: boolean;
}

/** What `take` threw, which is nobody's to handle here. */
class TakeFault extends Error {}

async function readTar(
  sandbox: Pick<Sandbox, "pack" | "openFile">,
  paths: readonly string[],
  take: TakeFile,
): Promise<TarRead> {
  const left = new Set(paths);
  const came = new Set<string>();
  let isLinked = false;
  if (left.size === 0) return { left: [], isWhole: true };
  try {
    const tar = await sandbox.pack(paths);
    const entries: AsyncIterable<ParsedTarEntry> = bytesOf(tar).pipeThrough(createTarDecoder({ strict: true }));
    for await (const { header, body } of entries) {
      const path = header.name.replace(/^\.\//, "");
      const isWanted = left.has(path);
      const sameAs = header.type === "link" ? (header.linkname ?? "").replace(/^\.\//, "") : undefined;
      if (isWanted && sameAs !== undefined && came.has(sameAs)) {
        await taken(take, { path, bytes: 0, content: nothing(), sameAs });
      } else if (isWanted && (header.type === "file" || header.type === undefined)) {
        await taken(take, { path, bytes: header.size, content: body });
      } else {
        await body.cancel();
        if (isWanted && sameAs !== undefined) isLinked = true;
        continue;
      }
      came.add(path);
      left.delete(path);
    }
    // One that came as another name of a file which is not among them is there, and is asked for by itself.
    return { left: [...left], isWhole: !isLinked };
  } catch (error) {
    if (error instanceof TakeFault) throw error.cause;
    if (isFinal(error)) throw error;
    return { left: [...left], isWhole: left.size === 0 };
  }
}

async function taken(take: TakeFile, file: FoundFile): Promise<void> {
  let sourceFault: unknown;
  const watched = async function* (): AsyncGenerator<Uint8Array> {
    try {
      yield* file.content;
    } catch (error) {
      sourceFault = error;
      throw error;
    }
  };
  try {
    await take({ ...file, content: watched() });
  } catch (error) {
    throw sourceFault ?? new TakeFault("", { cause: error });
  }
}

async function readAlone(
  sandbox: Pick<Sandbox, "pack" | "openFile">,
  path: string,
  take: TakeFile,
): Promise<"taken" | "gone" | "unreadable"> {
  try {
    const content: AsyncIterable<Uint8Array> = await sandbox.openFile(path);
    await taken(take, { path, bytes: undefined, content });
    return "taken";
  } catch (error) {
    if (error instanceof TakeFault) throw error.cause;
    if (isFinal(error)) throw error;
    const isGone = error instanceof SandboxError && (error.kind === "not_found" || error.kind === "is_folder");
    return isGone && !path.includes("\uFFFD") ? "gone" : "unreadable";
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // A second name of a file has no bytes of its own.
}

/** Errors that say nothing of a single file. */
function isFinal(error: unknown): boolean {
  return error instanceof StoreError || (error instanceof SandboxError && error.kind === "lost");
}
