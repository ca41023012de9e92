/** Reading, writing and removing single files of a remote sandbox, by the shells inside it. */
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { LIMITS } from "../../contract/limits.ts";
import { taking } from "../given-stream.ts";
import type { FileInfo, Sandbox } from "../provider.ts";
import { SandboxError } from "../provider.ts";
import { absoluteInside, isSpool, pathWords, type RemoteFolders, words } from "./remote-paths.ts";
import { toSandboxError } from "./request-errors.ts";
import type { Answer } from "./shell.ts";
import { ShellEndedError } from "./shell.ts";
import { STATUS } from "./shell-script.ts";
import type { Shells } from "./shells.ts";

export type RemoteFiles = Pick<Sandbox, "stat" | "readFile" | "openFile" | "writeFile" | "removeFile">;

/** Removing a tree says nothing until it is done. */
const REMOVE_MS = 10 * 60_000;
/** A sandbox says nothing while it takes bytes in, and whoever gives them may take his time. */
const GIVING_MS = 10 * 60_000;
/** The first line of what is read: the file's size and how much of it follows. */
const HEADER_BYTES_MAX = 64;

export function createRemoteFiles(shells: Shells, folders: RemoteFolders): RemoteFiles {
  const { workspace } = folders;
  const readLine = (given: string, range: string): string =>
    isSpool(folders, given)
      ? `read_spool ${words(given)} ${range}`
      : `read_file ${pathWords(absoluteInside(workspace, given))} ${range}`;
  return {
    async stat(given) {
      const reply = await shells.ask(`stat_file ${pathWords(absoluteInside(workspace, given))}`);
      if (reply.status === STATUS.missing) return undefined;
      const info = reply.status === 0 ? parseStat(reply.output.toString("latin1")) : undefined;
      if (info !== undefined) return info;
      throw toSandboxError(reply, given);
    },
    async readFile(given, range = {}) {
      const most = LIMITS.fileReadBytesMax;
      const offset = wholeNumber(range.offset ?? 0);
      const length = range.length === undefined ? "-" : wholeNumber(range.length);
      const line = readLine(given, `${offset} ${length} ${most}`);
      const reply = await shells.ask(line, { bytesMax: most + HEADER_BYTES_MAX });
      if (reply.status === STATUS.tooLarge) {
        const size = /^\d{1,19}/.exec(reply.output.toString("latin1", 0, HEADER_BYTES_MAX))?.[0] ?? "too many";
        throw new SandboxError("too_large", `${given} has ${size} bytes; expected a range of at most ${most} bytes`);
      }
      const header = headerOf(reply.output);
      if (reply.status !== 0 || header === undefined) throw toSandboxError(reply, given);
      return reply.output.subarray(header.end, header.end + header.follows);
    },
    async openFile(given) {
      const shell = await shells.take();
      const release = (): void => shells.giveBack(shell);
      try {
        const opened = await beginReading(shell.request(readLine(given, "0 - -")), given);
        const pieces = "pieces" in opened ? opened.pieces : [];
        const stream = Readable.from(withErrors(pieces, shells), { objectMode: false, highWaterMark: 256 * 1024 });
        stream.once("close", () => {
          if ("pieces" in opened && !opened.isWhole()) shell.close();
          release();
        });
        return stream;
      } catch (thrown) {
        release();
        throw thrown instanceof ShellEndedError ? await shells.whyEnded() : thrown;
      }
    },
    writeFile: (given, content) =>
      taking(content, async () => {
        const target = absoluteInside(workspace, given);
        const line = `write_file ${pathWords(target)} ${words(randomBytes(12).toString("hex"))}`;
        const blocks = content instanceof Uint8Array ? inBlocks([content]) : inBlocks(content);
        await giveBlocks(shells, { line, blocks, given });
      }),
    async removeFile(given) {
      const target = absoluteInside(workspace, given);
      if (target === workspace) throw new SandboxError("denied", "the workspace itself may not be removed");
      const reply = await shells.ask(`remove_file ${pathWords(target)}`, { silenceMs: REMOVE_MS });
      if (reply.status === STATUS.missing || reply.status === STATUS.notFolderOnTheWay) return false;
      if (reply.status !== 0) throw toSandboxError(reply, given);
      return true;
    },
  };
}

/** A request that takes bytes in. What breaks while they are had leaves no trace inside, and is thrown as it is. */
export async function giveBlocks(
  shells: Shells,
  request: {
    readonly line: string;
    readonly blocks: AsyncIterable<Uint8Array>;
    /** What is written, for the words of an error. */
    readonly given: string;
    readonly silenceMs?: number;
  },
): Promise<void> {
  await shells.use(async (shell) => {
    const reply = collect(shell.request(request.line, { silenceMs: GIVING_MS }));
    const answered = reply.then(
      () => true,
      () => true,
    );
    let timer: NodeJS.Timeout | undefined;
    const expectAnswer = (): void => {
      timer = setTimeout(() => shell.close(), request.silenceMs ?? LIMITS.remoteSilenceMs);
    };
    try {
      for await (const block of request.blocks) {
        // An early answer is a refusal, and a sandbox that takes nothing more in says so in its own time.
        if ((await Promise.race([answered, shell.give(block).catch(() => true)])) === true) break;
      }
      expectAnswer();
      await shell.giveEnd().catch(() => undefined);
      const { status, output } = await reply;
      if (status !== 0) throw toSandboxError({ status, output }, request.given);
    } catch (thrown) {
      expectAnswer();
      if (shell.isAnswering) await shell.giveEnd("cancelled").catch(() => undefined);
      await answered;
      throw thrown;
    } finally {
      clearTimeout(timer);
    }
  });
}

/** In pieces that a sandbox takes at once, none of them empty. */
export async function* inBlocks(
  content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of sourceOf(content)) {
    const bytes = typeof piece === "string" ? Buffer.from(piece) : piece;
    for (let done = 0; done < bytes.length; done += LIMITS.remoteBlockBytes) {
      yield bytes.subarray(done, done + LIMITS.remoteBlockBytes);
    }
  }
}

/** What breaks while the content is had is told apart from what breaks in the sandbox. */
async function* sourceOf<T>(content: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void, void> {
  try {
    yield* content;
  } catch (cause) {
    if (cause instanceof SandboxError) throw cause;
    throw new SandboxError("failed", "what was to be written could not be read to its end", { cause });
  }
}

async function collect(answer: Answer): Promise<{ status: number; output: Buffer }> {
  const parts: Uint8Array[] = [];
  for (let bytes = 0; ; ) {
    const next = await answer.next();
    if (next.done === true) return { status: next.value, output: Buffer.concat(parts) };
    bytes += next.value.length;
    if (bytes > HEADER_BYTES_MAX) throw new SandboxError("failed", "the sandbox does not work as it should");
    parts.push(next.value);
  }
}

interface Opened {
  readonly pieces: AsyncGenerator<Uint8Array, void, void>;
  readonly isWhole: () => boolean;
}

/** Reads up to the first byte of the file, so that a file that cannot be read is told before there is a stream. */
async function beginReading(answer: Answer, given: string): Promise<Opened | { readonly isEmpty: true }> {
  let begun = Buffer.alloc(0);
  while (true) {
    const next = await answer.next();
    if (next.done === true) {
      const header = next.value === 0 ? headerOf(begun) : undefined;
      if (header === undefined) throw toSandboxError({ status: next.value, output: begun }, given);
      return { isEmpty: true };
    }
    begun = Buffer.concat([begun, next.value]);
    const header = headerOf(begun);
    if (header === undefined) {
      if (begun.length > HEADER_BYTES_MAX) throw new SandboxError("failed", `${given} could not be read`);
      continue;
    }
    let whole = false;
    const first = begun.subarray(header.end);
    return { pieces: piecesOf(first, answer, header.follows, () => (whole = true)), isWhole: () => whole };
  }
}

/** Never more than was announced, whoever answers. */
async function* piecesOf(
  first: Uint8Array,
  answer: Answer,
  follows: number,
  finish: () => void,
): AsyncGenerator<Uint8Array, void, void> {
  let left = follows;
  let piece = first;
  while (true) {
    if (piece.length > left) throw new SandboxError("failed", "the file grew while it was read");
    left -= piece.length;
    if (piece.length > 0) yield piece;
    const next = await answer.next();
    if (next.done === true) break;
    piece = next.value;
  }
  finish();
  if (left > 0) throw new SandboxError("failed", "the file became shorter while it was read");
}

async function* withErrors(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  shells: Shells,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* pieces;
  } catch (thrown) {
    throw thrown instanceof ShellEndedError ? await shells.whyEnded() : thrown;
  }
}

function headerOf(output: Buffer): { readonly follows: number; readonly end: number } | undefined {
  const line = /^\d{1,15} (\d{1,15})\n/.exec(output.toString("latin1", 0, HEADER_BYTES_MAX));
  return line === null ? undefined : { follows: Number(line[1]), end: line[0].length };
}

function wholeNumber(value: number): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.trunc(value) || 0));
}

const STAT_LINE = /^([0-9a-f]{1,8}) (\d{1,16}) (-?\d{1,12})\|[-\d]+ [\d:]+(?:\.(\d{1,9}))?/;

/** `%f %s %Y|%y`: of the time to the second and the time in words, the fraction of the second one. */
function parseStat(line: string): FileInfo | undefined {
  const found = STAT_LINE.exec(line);
  if (found === null) return undefined;
  const [, mode = "", bytes = "", seconds = "", fraction = ""] = found;
  const modifiedAt = Math.round(Number(seconds) * 1_000 + Number(`0.${fraction}0`) * 1_000);
  return { kind: kindOf(Number.parseInt(mode, 16)), bytes: Number(bytes), modifiedAt };
}

export function kindOf(mode: number): FileInfo["kind"] {
  switch (mode & 0o170000) {
    case 0o100000:
      return "file";
    case 0o040000:
      return "folder";
    case 0o120000:
      return "symlink";
    default:
      return "other";
  }
}
